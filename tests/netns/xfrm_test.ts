/** Policies of the kernel's IPsec database, and the ipsec backend without tunnels. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { Prefix } from "../../src/addr/prefix.ts";
import { installedPlugins, strongswanConf } from "../../src/backend/ipsec/strongswan_conf.ts";
import { missingFeatures } from "../../src/lab/kernel_features.ts";
import { spawnInNamespace } from "../../src/lab/namespace.ts";
import type { KernelError } from "../../src/kernel/kernel.ts";
import { openXfrmStates } from "../../src/kernel/xfrm/xfrm_states.ts";
import { findCharon } from "../../src/process/program_lookup.ts";
import type { XfrmPolicy } from "../../src/state/resource.ts";
import { Cluster, PREFIX } from "../support/cluster.ts";
import { FLANNELD, type Host } from "../support/host.ts";
import {
  charonPid,
  connectionName,
  connections,
  expectedPolicies,
  ipsecBackend,
  policyText,
  PSK,
  secrets,
  withCharon,
} from "../support/ipsec.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { stateText } from "../support/state_text.ts";
import { eventually, throughout } from "../support/wait.ts";
import { collect, find, remove, run, Sandbox, set, until } from "./netlink_support.ts";

const HEAL_MS = 30_000;

function policy(from: number, to: number, direction: XfrmPolicy["direction"] = "out"): XfrmPolicy {
  return {
    kind: "xfrm-policy",
    direction,
    source: `10.5.${from}.0/24` as Prefix,
    destination: `10.5.${to}.0/24` as Prefix,
    tunnel: {
      source: `192.0.2.${from}` as IpAddress,
      destination: `192.0.2.${to}` as IpAddress,
      reqid: 11,
    },
  };
}

const V6_POLICY: XfrmPolicy = {
  kind: "xfrm-policy",
  direction: "fwd",
  source: "fd00:5:0:2::/64" as Prefix,
  destination: "fd00:5:0:1::/64" as Prefix,
  tunnel: {
    source: "2001:db8::2" as IpAddress,
    destination: "2001:db8::1" as IpAddress,
    reqid: 7,
  },
};

/** All policies as `ip` shows them, each on one line. */
function shown(): string[] {
  return run("ip xfrm policy list").split(/^(?=src )/m)
    .map((text) => text.trim().replace(/\s+/g, " ").replace(" ptype main", ""))
    .filter((text) => text !== "").sort();
}

describe("a policy", () => {
  let sandbox: Sandbox;
  beforeAll(() => void (sandbox = new Sandbox()));
  afterAll(() => sandbox[Symbol.dispose]());
  beforeEach(() => void run("ip xfrm policy flush"));

  test("is created as `ip` shows it, and reads back, in both families", async () => {
    for (const one of [policy(1, 2), policy(2, 1, "in"), policy(2, 1, "fwd"), V6_POLICY]) {
      expect(await set(sandbox.kernel, one, true)).toBeUndefined();
      expect(await find(sandbox.kernel, one)).toEqual(one);
    }
    expect(shown()).toEqual([
      "src 10.5.1.0/24 dst 10.5.2.0/24 dir out priority 0 tmpl src 192.0.2.1 dst 192.0.2.2 " +
      "proto esp reqid 11 mode tunnel",
      "src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd priority 0 tmpl src 192.0.2.2 dst 192.0.2.1 " +
      "proto esp reqid 11 mode tunnel",
      "src 10.5.2.0/24 dst 10.5.1.0/24 dir in priority 0 tmpl src 192.0.2.2 dst 192.0.2.1 " +
      "proto esp reqid 11 mode tunnel",
      "src fd00:5:0:2::/64 dst fd00:5:0:1::/64 dir fwd priority 0 tmpl src 2001:db8::2 " +
      "dst 2001:db8::1 proto esp reqid 7 mode tunnel",
    ]);
  });

  test("created exclusively does not replace one; otherwise it does", async () => {
    await set(sandbox.kernel, policy(1, 2), true);
    const moved = { ...policy(1, 2), tunnel: { ...policy(1, 3).tunnel } } as XfrmPolicy;
    const refusal = await set(sandbox.kernel, moved, true) as KernelError;
    expect(refusal.errno).toBe("EEXIST");
    expect(refusal.message).toBe(
      "cannot set xfrm policy src 10.5.1.0/24 dst 10.5.2.0/24 dir out tmpl src 192.0.2.1 " +
        "dst 192.0.2.3 proto esp reqid 11 mode tunnel: EEXIST",
    );
    expect(await find(sandbox.kernel, moved)).toEqual(policy(1, 2));
    expect(await set(sandbox.kernel, moved)).toBeUndefined();
    expect(await find(sandbox.kernel, moved)).toEqual(moved);
    expect(shown()).toHaveLength(1);
  });

  test("is deleted, and deleting it again is not an error", async () => {
    await set(sandbox.kernel, policy(1, 2));
    expect(await remove(sandbox.kernel, policy(1, 2))).toBeUndefined();
    expect(await remove(sandbox.kernel, policy(1, 2))).toBeUndefined();
    expect(shown()).toEqual([]);
  });

  test("that does not ask for just one ESP tunnel is read without a tunnel", async () => {
    const selector = "src 10.5.1.0/24 dst 10.5.2.0/24 dir fwd";
    const tunnel = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 11 mode tunnel";
    for (
      const rest of [
        "action block",
        "",
        `${tunnel} level use`,
        "tmpl proto esp reqid 11 mode transport",
        "tmpl src 192.0.2.1 dst 192.0.2.2 proto ah reqid 11 mode tunnel",
        `${tunnel} ${tunnel}`,
        "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp spi 7 reqid 11 mode tunnel",
      ]
    ) {
      run(`ip xfrm policy update ${selector} ${rest}`.trim());
      const { tunnel: _, ...plain } = policy(1, 2, "fwd");
      expect(await sandbox.kernel.dump(["xfrm-policy"])).toEqual([plain]);
    }
  });

  test("that shares addresses with one of ours and differs otherwise is not dumped", async () => {
    const selector = "src 10.5.1.0/24 dst 10.5.2.0/24";
    const others = ["proto tcp", "proto udp dport 53", "proto udp sport 53", "dev lo"];
    for (const more of others) run(`ip xfrm policy add ${selector} ${more} dir out action block`);
    run(`ip xfrm policy add ${selector} dir out mark 3 action block`);
    run(`ip xfrm policy add ${selector} dir out if_id 3 action block`);
    run("ip xfrm policy add src 10.5.1.7/24 dst 10.5.2.0/24 dir out action block");
    expect(shown()).toHaveLength(7);
    expect(await sandbox.kernel.dump(["xfrm-policy"])).toEqual([]);
    expect(await set(sandbox.kernel, policy(1, 2), true)).toBeUndefined();
    expect(await remove(sandbox.kernel, policy(1, 2))).toBeUndefined();
    expect(shown()).toHaveLength(7);
  });

  test("that is added, changed or deleted is reported; a flush is an overrun", async () => {
    using watch = collect(sandbox.kernel);
    await set(sandbox.kernel, policy(1, 2), true);
    run("ip xfrm policy update src 10.5.1.0/24 dst 10.5.2.0/24 dir out action block");
    run("ip xfrm policy delete src 10.5.1.0/24 dst 10.5.2.0/24 dir out");
    await set(sandbox.kernel, policy(2, 1, "fwd"), true);
    run("ip xfrm policy flush");
    // The kernel may still announce the sandbox's own addresses.
    const policyEvents = () =>
      watch.events.filter((event) =>
        event.kind !== "changed" || event.resource.kind === "xfrm-policy"
      );
    expect(await until(() => policyEvents().at(-1)?.kind === "overrun")).toBe(true);
    const { tunnel: _, ...plain } = policy(1, 2);
    expect(policyEvents()).toEqual([
      { kind: "changed", resource: policy(1, 2), deleted: false },
      { kind: "changed", resource: plain, deleted: false },
      { kind: "changed", resource: plain, deleted: true },
      { kind: "changed", resource: policy(2, 1, "fwd"), deleted: false },
      { kind: "overrun" },
    ]);
  });

  test("is one of thousands: each step has its own result", async () => {
    const many = Array.from({ length: 1000 }, (_, n) => ({
      ...policy(1, 2),
      destination: `10.${n >> 8}.${n & 255}.0/24` as Prefix,
    }));
    await set(sandbox.kernel, many[500] as XfrmPolicy);
    const { tunnel: _, ...impossible } = policy(1, 2);
    const resources = [...many, impossible];
    const results = await sandbox.kernel.apply(
      resources.map((resource) => ({ op: "set", resource, exclusive: true })),
    );
    const failed = results.flatMap((result, at) => result ? [[at, result.errno]] : []);
    expect(failed).toEqual([[500, "EEXIST"], [1000, "EINVAL"]]);
    const found = await sandbox.kernel.dump(["xfrm-policy"]);
    expect(stateText(found)).toBe(stateText(many));
  });
});

test("ESP is not missing unless the kernel reports it", () => {
  using _sandbox = new Sandbox();
  using xfrmStates = openXfrmStates(systemClock);
  const id = { destination: "192.0.2.1" as IpAddress, spi: 7 };
  expect(xfrmStates.lacks(id)).toBe(true);
  xfrmStates[Symbol.dispose](); // the kernel is not asked
  expect(xfrmStates.lacks(id)).toBe(false);
});

test.each([[4, "esp4"], [6, "esp6"]] as const)(
  "whether the kernel has ESP for IPv%i is detected and leaves nothing",
  async (family, feature) => {
    const isMissing = (await missingFeatures([feature])).length > 0;
    using _sandbox = new Sandbox();
    using xfrmStates = openXfrmStates(systemClock);
    expect(xfrmStates.lacksEsp(family)).toBe(isMissing);
    expect(run("ip xfrm state")).toBe("");
    xfrmStates[Symbol.dispose](); // the kernel is not asked
    expect(xfrmStates.lacksEsp(family)).toBe(false);
  },
);

/** Policies of other programs, similar to ours. */
const FOREIGN = `
ip xfrm policy add src 10.6.1.0/24 dst 10.6.2.0/24 dir out ${template("2", 11)}
ip xfrm policy add src 10.5.1.0/24 dst 10.5.99.0/24 dir out ${template("99", 12)}
ip xfrm policy add src 10.5.1.0/24 dst 10.5.98.0/24 dir out action block
`;
const FOREIGN_TEXT = `\
xfrm policy src 10.5.1.0/24 dst 10.5.98.0/24 dir out action block
xfrm policy src 10.5.1.0/24 dst 10.5.99.0/24 dir out ${template("99", 12)}
xfrm policy src 10.6.1.0/24 dst 10.6.2.0/24 dir out ${template("2", 11)}
`;

/** The template of a policy for packets to the host 192.0.2.`peer`. */
function template(peer: string, reqid: number): string {
  return `tmpl src 192.0.2.1 dst 192.0.2.${peer} proto esp reqid ${reqid} mode tunnel`;
}

/** These tests need no tunnel, and some kernels that run them have no ESP. */
const WITHOUT_ESP = { despite: /this kernel has no ESP for IPv4/ };

async function startCluster(hosts: number): Promise<Cluster> {
  const cluster = await Cluster.create({ hosts });
  try {
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    await cluster.configure({ ...IPV4, Backend: ipsecBackend() });
    await cluster.startAll(WITHOUT_ESP);
    await expectPolicies(cluster.host(1), expectedPolicies(hosts === 2 ? [2] : [2, 3]));
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function expectPolicies(host: Host, text: string): Promise<void> {
  await eventually("the policies are in sync", HEAL_MS, async () => {
    const found = await policyText(host);
    if (found !== text) throw new Error(found);
    return true;
  });
}

/**
 * Adds and removes a policy and waits until the monitor has reported it, and thus all earlier
 * changes.
 */
async function policySeen(host: Host, log: string, source: string): Promise<void> {
  await eventually(`the monitor has seen ${source}`, HEAL_MS, async () => {
    const selector = `src ${source} dst 10.7.0.0/24 dir out`;
    await host.sh(`ip xfrm policy add ${selector} action block
ip xfrm policy delete ${selector}`);
    return (await Bun.file(log).text()).includes(`Deleted src ${source}`);
  });
}

function sortedLines(...texts: string[]): string {
  return texts.join("").split(/(?<=\n)/).sort().join("");
}

describe("the daemon", () => {
  let cluster: Cluster;
  let host: Host;
  beforeAll(async () => {
    cluster = await startCluster(2);
    host = cluster.host(1);
  }, 120_000);
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test("gives out an MTU with room for ESP", () => {
    expect(host.subnet().mtuBytes).toBe(1423);
  });

  test("names a kernel without ESP in /readyz", async () => {
    const isMissing = (await missingFeatures(["esp4"])).length > 0;
    const { status, body } = await host.http("/readyz");
    expect([status, body.includes("this kernel has no ESP for IPv4")])
      .toEqual(isMissing ? [503, true] : [200, false]);
  });

  const OUT = "src 10.5.1.0/24 dst 10.5.2.0/24 dir out";
  test.each([
    ["a deleted policy", `ip xfrm policy delete ${OUT}`],
    ["flushed policies", "ip xfrm policy flush"],
    [
      "a policy to another host",
      `ip xfrm policy update ${OUT} ${template("77", 11)}`,
    ],
  ])("%s is restored", async (_name, damage) => {
    const text = expectedPolicies([2]);
    await expectPolicies(host, text);
    await host.sh(damage);
    await expectPolicies(host, text);
    await throughout("it stays", 300, async () => await policyText(host) === text);
  }, 120_000);

  test(
    "another program's policy instead of ours is a conflict until it is removed",
    async () => {
      await host.sh(`ip xfrm policy update ${OUT} action block`);
      await eventually("it is reported", HEAL_MS, async () => {
        const { status, body } = await host.http("/readyz");
        return status === 503 && body.includes(OUT);
      });
      expect(await policyText(host)).toContain(`${OUT} action block`);
      await host.sh(`ip xfrm policy delete ${OUT}`);
      await expectPolicies(host, expectedPolicies([2]));
      await eventually("it is ready", HEAL_MS, () => host.isReady());
    },
    120_000,
  );

  test(
    "a restart removes our stale policies and keeps those of other programs",
    async () => {
      await host.daemon.stop("SIGKILL");
      await host.sh(`${FOREIGN}
ip xfrm policy add src 10.5.9.0/24 dst 10.5.1.0/24 dir fwd \\
  tmpl src 192.0.2.9 dst 192.0.2.1 proto esp reqid 11 mode tunnel
ip xfrm policy add src 10.5.1.0/24 dst 10.5.9.0/24 dir out ${template("9", 11)}
`);
      const log = join(host.directory, "monitor.log");
      await host.sh(`timeout 100 ip xfrm monitor policy >${log} 2>&1 &`);
      await policySeen(host, log, "10.7.1.0/24");
      await host.up(WITHOUT_ESP);
      await expectPolicies(host, sortedLines(expectedPolicies([2]), FOREIGN_TEXT));
      await policySeen(host, log, "10.7.2.0/24");
      const moved = (await Bun.file(log).text()).split("\n").filter((line) =>
        /\bsrc 10\.[56]\./.test(line)
      );
      expect(moved.map((line) => line.trim()).sort()).toEqual([
        "Deleted src 10.5.1.0/24 dst 10.5.9.0/24",
        "Deleted src 10.5.9.0/24 dst 10.5.1.0/24",
      ]);
    },
    120_000,
  );
});

describe("charon", () => {
  let cluster: Cluster;
  let host: Host;
  beforeAll(async () => {
    cluster = await startCluster(2);
    host = cluster.host(1);
  }, 120_000);
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test("has a connection for each peer, and its lines are in the log", async () => {
    expect(await connections(host)).toEqual([connectionName(1, 2)]);
    expect(await secrets(host)).toEqual(["flannel-10.5.0.0/16-192.0.2.2"]);
    expect(host.daemon.logLines(/charon: added vici connection/)).not.toEqual([]);
    expect(host.daemon.log()).not.toContain(PSK);
  });

  test("that is killed is replaced by a new one with all connections", async () => {
    const before = await charonPid(host);
    process.kill(before, "SIGKILL");
    await eventually("a new one is there", 30_000, async () => {
      return await charonPid(host) !== before && (await connections(host)).length === 1;
    });
    expect(host.daemon.logLines(/the connection to charon is lost/)).toHaveLength(1);
  }, 120_000);

  test("gets back a connection that was unloaded, and nothing is loaded twice", async () => {
    const name = connectionName(1, 2);
    await withCharon(host, (vici) => vici.command("unload-conn", { name }));
    await eventually(
      "the connection is back",
      30_000,
      async () => (await connections(host)).includes(name),
    );
    const loads = host.daemon.logLines(/loaded IKE shared key/).length;
    await throughout(
      "nothing is loaded",
      6_000,
      () => host.daemon.logLines(/loaded IKE shared key/).length === loads,
    );
  }, 120_000);

  test.each(["SIGTERM", "SIGKILL"] as const)("survives the daemon's %s", async (signal) => {
    const pid = await charonPid(host);
    await host.daemon.stop(signal);
    await load(host);
    await host.up(WITHOUT_ESP);
    expect(await charonPid(host)).toBe(pid);
    expect(host.daemon.logLines(/using the charon of the previous run/)).toHaveLength(
      1,
    );
    expect(await connections(host)).toEqual([connectionName(1, 2), "office"]);
    expect(await secrets(host)).toEqual(["flannel-10.5.0.0/16-192.0.2.2", "office"]);
    expect(host.daemon.logLines(/charon: deleted|charon: loaded IKE shared key/)).not.toEqual([]);
  }, 120_000);

  test("forgets a peer that leaves", async () => {
    await cluster.host(2).daemon.stop(); // it would take its subnet back
    await cluster.etcd.delete(`${PREFIX}/subnets/10.5.2.0-24`);
    await eventually("it is forgotten", HEAL_MS, async () => {
      const [names, keys] = [await connections(host), await secrets(host)];
      return `${names} ${keys}` === "office office" && (await policyText(host)) === "";
    });
  }, 120_000);
});

describe("a charon that runs already", () => {
  test.each([
    ["where charon usually is", undefined],
    ["where the environment says", "/run/other.vici"],
  ])(
    "is used %s and keeps running; stale entries are removed, those of others stay",
    async (_, path) => {
      await using cluster = await startCluster(2);
      const host = cluster.host(1);
      await host.daemon.stop();
      const previous = await charonPid(host);
      process.kill(previous, "SIGKILL");
      // A second charon exits while the process of charon.pid exists.
      await eventually("it is gone", 30_000, () => !isRunning(previous));
      const conf = join(host.directory, "foreign.conf");
      const socket = path ?? "/var/run/charon.vici";
      writeFileSync(
        conf,
        strongswanConf({ socket, plugins: installedPlugins(findCharon() ?? "") }),
      );
      const charon = spawnInNamespace(host.station.namespace, {
        runDirectory: join(host.directory, "run"),
        logFile: join(host.directory, "foreign.log"),
        command: [findCharon() ?? "charon"],
        env: { STRONGSWAN_CONF: conf },
      });
      cluster.record.addProcess(charon.pid);
      const reachable = join(
        host.directory,
        "run",
        path === undefined ? "charon.vici" : "other.vici",
      );
      await eventually("it listens", 30_000, () => existsSync(reachable));
      if (path !== undefined) symlinkSync("other.vici", join(host.directory, "run", "charon.vici"));
      await eventually("it is loaded", 30_000, async () => (await load(host), true));
      const env = path === undefined ? {} : { CHARON_VICI_SOCKET: path };
      await host.up({ ...WITHOUT_ESP, env });
      expect(await connections(host)).toEqual([connectionName(1, 2), "office"]);
      expect(await secrets(host)).toEqual(["flannel-10.5.0.0/16-192.0.2.2", "office"]);
      await host.daemon.stop();
      expect(isRunning(charon.pid)).toBe(true);
      expect(await connections(host)).toEqual([connectionName(1, 2), "office"]);
    },
    120_000,
  );
});

describe("a mistake of the operator is reported in one line", () => {
  async function failure(options: Record<string, unknown>, before = "true"): Promise<string[]> {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure({ ...IPV4, Backend: { Type: "ipsec", ...options } });
    const host = cluster.host(1);
    const wrapper = join(host.directory, "flanneld");
    writeFileSync(wrapper, `#!/bin/sh\n${before}\nexec ${FLANNELD} "$@"\n`, { mode: 0o755 });
    const daemon = host.start({ binary: wrapper });
    expect(await daemon.exitCode()).toBe(1);
    expect(daemon.log()).not.toContain(PSK);
    return daemon.logLines(/^[EF]/);
  }

  test.each([
    [{}, "the PSK of the ipsec backend is missing"],
    [{ PSK: "short" }, "the PSK of the ipsec backend has 5 bytes"],
    [{ PSK, ESPProposal: "rot13" }, 'charon rejected the ESPProposal "rot13"'],
    [{ PSK, UDPEncap: 1 }, "UDPEncap in the network configuration"],
  ])("with the options %j", async (options, expected) => {
    const lines = await failure(options);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(expected);
  }, 120_000);

  test("without charon", async () => {
    const hide = "mount -t tmpfs none /usr/lib/ipsec";
    const lines = await failure({ PSK }, hide);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(
      "install it (Debian: strongswan-charon, strongswan-swanctl and " +
        "libstrongswan-standard-plugins)",
    );
  }, 120_000);

  test("with a run directory that cannot be written", async () => {
    const lines = await failure(
      { PSK },
      'd=$(dirname "$0"); mount --bind $d $d && mount -o remount,ro,bind $d',
    );
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /cannot open .*\/charon.lock.* EROFS.*directory with --subnet-file/,
    );
  }, 120_000);

  test("with a socket in the environment without a charon", async () => {
    const lines = await failure({ PSK }, "export CHARON_VICI_SOCKET=/nowhere");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("CHARON_VICI_SOCKET names /nowhere, where no charon responds (");
  }, 120_000);

  test("without charon's plugin vici", async () => {
    const copy = "cp -r /usr/lib/ipsec /run/ipsec && mount --bind /run/ipsec /usr/lib/ipsec && " +
      "rm /usr/lib/ipsec/plugins/libstrongswan-vici.so";
    const lines = await failure({ PSK }, copy);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("lacks its plugin vici");
    expect(lines[0]).toContain("install it (Debian: strongswan-swanctl)");
  }, 120_000);
});

/** Loads a stale connection of ours and one of another program, each with its key. */
async function load(host: Host): Promise<void> {
  await withCharon(host, async (vici) => {
    const address = { local_addrs: ["127.0.0.1"], remote_addrs: ["127.0.0.9"], version: "2" };
    for (const name of [connectionName(1, 9), "office"]) {
      await vici.command("load-conn", { [name]: { ...address, children: { [name]: {} } } });
    }
    const secret = { type: "IKE", data: "x", owners: ["127.0.0.9"] };
    for (const id of ["flannel-10.5.0.0/16-192.0.2.9", "office"]) {
      await vici.command("load-shared", { id, ...secret });
    }
  });
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
