/**
 * Which folder may import which, each with its reason. Whoever needs a new edge adds it here, with
 * the reason, in the same commit.
 */

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;

/** An edge that carries types only is marked `type`: nothing of the target runs in the source. */
const EDGES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  addr: {},
  files: {},
  config: {
    addr: "networks and subnets are prefixes",
    text: "unknown keys are reported with the nearest known one",
  },
  log: {
    text: "what comes from outside is cut and escaped",
    "type time": "repeated lines are counted for a while",
  },
  memory: {},
  process: { ffi: "which process listens at a socket is asked of the kernel" },
  text: {},
  time: {},
  state: { addr: "entries consist of addresses" },
  ffi: {},
  netlink: {
    addr: "addresses to and from bytes",
    ffi: "libnl, libc and the kernel's constants",
    process: "WireGuard in user space is a program",
    state: "what is read and written are resources",
  },
  subnet: {
    addr: "leases consist of prefixes",
    config: "a subnet must fit the network",
    files: "the subnet file",
    memory: "there may be tens of thousands of leases",
    text: "what is wrong with a lease is shown, and its size is bounded",
  },
  "subnet/etcd": {
    addr: "leases consist of prefixes",
    config: "a subnet must fit the network",
    files: "TLS files",
    log: "outages are logged",
    memory: "there may be tens of thousands of leases",
    subnet: "it implements the store",
    text: "messages show what a server sent",
    time: "pauses between attempts",
  },
  datastore: {
    addr: "the listen address",
    backend: "a configuration names one that there is",
    config: "the network's configuration is checked before it is written",
    files: "TLS files, the network's configuration",
    health: "systemd is told when it serves",
    "type log": "what it does by itself is logged",
    process: "its connections stay below the limit of open files",
    "subnet/etcd": "it speaks the messages of our own etcd client",
    time: "leases expire",
  },
  backend: {
    addr: "peers have addresses",
    config: "each backend reads its options",
    files: "records of commands, charon's settings",
    log: "what was adopted or refused is logged, thousands of peers in a few lines",
    "type netlink": "prepare() is given the kernel port",
    ffi: "the udp proxy moves packets by itself",
    memory: "there may be tens of thousands of peers",
    process: "kernel modules are loaded; charon and commands are started",
    state: "desired entries are resources",
    subnet: "peers are leases, and subnets that overlap are found by a trie",
    text: "an unknown type is reported with the nearest known one; what leases say is shown",
    time: "targets repair and retry by themselves",
  },
  traffic: {
    addr: "rules name networks",
    ffi: "libnftables",
    log: "repairs are logged",
    netlink: "notifications of nftables are netlink messages",
    process: "iptables-restore, and nft where libnftables is missing",
  },
  reconcile: {
    addr: "assertNever",
    "type log": "repairs and failures are logged",
    "type netlink": "it acts through the kernel port",
    state: "it compares desired and actual entries",
    time: "debouncing, retries, resync",
  },
  iface: {
    addr: "interfaces have addresses",
    "type backend": "the result is what backends are given",
    config: "the overlay network must leave the host's own addresses alone",
    ffi: "address flags, as the kernel spells them",
    netlink: "devices, addresses and routes are read from the kernel",
    "type state": "routes are resources",
    text: "an unknown name is answered with the nearest known one",
  },
  health: {
    addr: "the listen address",
    ffi: "systemd's socket takes datagrams",
    "type log": "a notification that fails is logged",
    text: "what quotes text from outside is escaped",
  },
  lab: {
    addr: "hosts and workloads have addresses",
    process: "it starts ip, etcd and the daemon",
    traffic: "whether this machine can hold the rules in iptables",
  },
  cli: {
    addr: "flags that are addresses",
    backend: "--backend is one that there is",
    config: "--network is checked when it is read",
    datastore: "the subcommand",
    iface: "--iface-regex is checked when it is read",
    lab: "the subcommand",
    log: "--log-format, and the datastore's log",
    subnet: "faults that are told in one line",
    text: "unknown flags are reported with the nearest known one",
  },
  daemon: {
    addr: "host facts",
    backend: "wiring",
    cli: "the options",
    config: "wiring",
    ffi: "which process has a device is asked of the kernel",
    health: "wiring",
    iface: "wiring",
    log: "wiring",
    netlink: "wiring",
    reconcile: "wiring",
    state: "wiring",
    subnet: "wiring",
    "subnet/etcd": "wiring",
    time: "pauses between attempts",
    traffic: "wiring",
  },
  main: {
    addr: "assertNever",
    cli: "what is to be done",
    daemon: "doing it, loaded when it is",
    log: "the daemon's log",
    process: "limits that are too small are known before anything is begun",
    text: "a message quotes the command line",
  },
};

/** npm packages and `bun:` modules; `node:` modules are free except those that start programs. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "bun:ffi": ["ffi"],
  "bun:jsc": ["memory"],
  "bun:sqlite": ["datastore"],
  "node:child_process": ["process"],
  "node:worker_threads": [],
  "@bufbuild/protobuf": ["datastore", "subnet/etcd"],
  "@connectrpc/connect": ["datastore", "subnet/etcd"],
  "@connectrpc/connect-node": ["datastore", "subnet/etcd"],
  ini: ["subnet"],
  pino: ["log"],
};

interface Import {
  readonly file: string;
  readonly from: string;
  /** A folder of ours, or a package. */
  readonly to: string;
  readonly isPackage: boolean;
  readonly isType: boolean;
}

const files = ["src", "ffi"].flatMap((folder) =>
  (readdirSync(`${ROOT}${folder}`, { recursive: true }) as string[])
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`)
);
const imports = files.flatMap(importsOf);

describe("imports between folders", () => {
  test("are found at all", () => {
    expect(files.length).toBeGreaterThan(50);
    expect(imports).toContainEqual({
      file: "src/health/sd_notify.ts",
      from: "health",
      to: "ffi",
      isPackage: false,
      isType: false,
    });
  });

  test("are those of the table", () => {
    const strays = imports.filter(({ from, to, isPackage, isType }) =>
      !isPackage && from !== to && EDGES[from]?.[to] === undefined &&
      !(isType && EDGES[from]?.[`type ${to}`] !== undefined)
    );
    expect(strays.map(({ file, to, isType }) => `${file} -> ${isType ? "type " : ""}${to}`))
      .toEqual([]);
  });

  test("use every edge of the table", () => {
    const used = new Set(
      imports.flatMap(({ from, to }) => [`${from} ${to}`, `${from} type ${to}`]),
    );
    const listed = Object.entries(EDGES).flatMap(([from, targets]) =>
      Object.keys(targets).map((to) => `${from} ${to}`)
    );
    expect(listed.filter((edge) => !used.has(edge))).toEqual([]);
  });

  test("of values go one way: no folder reaches itself", () => {
    const reaches = (from: string, goal: string, seen = new Set<string>()): boolean =>
      imports.some((one) => {
        if (one.from !== from || one.isType || one.isPackage || one.to === from) return false;
        if (one.to === goal) return true;
        if (seen.has(one.to)) return false;
        seen.add(one.to);
        return reaches(one.to, goal, seen);
      });
    expect(Object.keys(EDGES).filter((folder) => reaches(folder, folder))).toEqual([]);
  });
});

describe("packages", () => {
  test("are imported only where the table says", () => {
    const strays = imports.filter(({ from, to, isPackage }) => {
      if (!isPackage) return false;
      const name = packageName(to);
      return name.startsWith("node:") && !(name in PACKAGES)
        ? false
        : !(PACKAGES[name] ?? []).includes(from);
    });
    expect(strays.map(({ file, to }) => `${file} -> ${to}`)).toEqual([]);
  });

  test("of the table are those of package.json", () => {
    const manifest = JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")) as {
      dependencies: Record<string, string>;
    };
    expect(Object.keys(PACKAGES).filter((name) => !name.includes(":")).sort())
      .toEqual(Object.keys(manifest.dependencies).sort());
  });
});

test("only src/process starts programs", () => {
  const starters = files.filter((file) =>
    !file.startsWith("src/process/") &&
    /\bBun\s*\.\s*(spawn|spawnSync|\$)|import\s*\{[^}]*\$[^}]*\}\s*from\s*"bun"/.test(
      readFileSync(`${ROOT}${file}`, "utf8"),
    )
  );
  expect(starters).toEqual([]);
});

test("only src/main.ts ends the process", () => {
  const enders = files.filter((file) =>
    file !== "src/main.ts" && /\bprocess\s*\.\s*exit\b/.test(readFileSync(`${ROOT}${file}`, "utf8"))
  );
  expect(enders).toEqual([]);
});

function importsOf(file: string): Import[] {
  const text = readFileSync(`${ROOT}${file}`, "utf8");
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  // What is left when the types are gone.
  const values = new Set(transpiler.scanImports(text).map(({ path }) => path));
  const specifiers = [
    ...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom\s*"([^"]+)"/gm),
    ...text.matchAll(/^import\s*"([^"]+)"/gm),
    ...text.matchAll(/\bimport\(\s*"([^"]+)"/g),
  ].map((match) => match[1] as string);
  return [...new Set([...values, ...specifiers])].flatMap((specifier) => {
    const isPackage = !specifier.startsWith(".");
    const to = isPackage ? specifier : folderOf(posix.join(posix.dirname(file), specifier));
    const isType = !values.has(specifier);
    return to === "" ? [] : [{ file, from: folderOf(file), to, isPackage, isType }];
  });
}

/** `src/daemon.ts` and `src/daemon/` are one. Empty for files at the root, such as LICENSE. */
function folderOf(file: string): string {
  const [top, second = "", third = "", fourth] = file.split("/");
  if (top === "ffi") return "ffi";
  if (top !== "src") return "";
  if (second === "subnet" && fourth !== undefined) return `subnet/${third}`;
  return second.replace(/\.ts$/, "");
}

function packageName(specifier: string): string {
  const parts = specifier.split("/");
  if (specifier.startsWith("node:")) return parts[0] as string;
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0] as string;
}
