/** The executable as released: its dependencies, its output, and its reproducible build. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;
const FLANNELD = resolve(ROOT, process.env["FLANNELD_BINARY"] ?? "dist/flanneld");

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  command: string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Outcome> {
  const child = Bun.spawn(command, {
    cwd: options.cwd ?? ROOT,
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", ...options.env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { status: await child.exited, stdout, stderr };
}

let directory = "";
beforeAll(() => void (directory = mkdtempSync(`${tmpdir()}/flanneld-build-`)));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe("the executable", () => {
  test("needs nothing but glibc", async () => {
    const { stdout } = await run(["ldd", FLANNELD]);
    const libraries = stdout.trim().split("\n")
      .map((line) => (line.trim().split(" ")[0] as string).replace(/^.*\//, ""));
    expect(libraries.length).toBeGreaterThan(2);
    const glibc = /^(linux-vdso|ld-linux-[\w-]+|lib(c|m|dl|pthread|rt))\.so(\.\d+)?$/;
    expect(libraries.filter((name) => !glibc.test(name))).toEqual([]);
  });

  test("starts with glibc 2.17, as the manual says", async () => {
    const { stdout } = await run(["objdump", "-T", FLANNELD]);
    const versions = [...stdout.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
    expect(Math.max(...versions)).toBe(17);
  });

  test("prints its version: that of package.json and the commit", async () => {
    const manifest = JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")) as { version: string };
    for (const form of ["version", "--version", "-version=true"]) {
      const { status, stdout, stderr } = await run([FLANNELD, form]);
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^v[\d.]+\+([0-9a-f]{12}(\.dirty)?|unknown)\n$/);
      expect(stdout).toStartWith(`v${manifest.version}+`);
    }
  });

  test("prints what a bug report needs, with the libnl that it uses", async () => {
    const { status, stdout, stderr } = await run([FLANNELD, "version", "--json"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toMatchObject({
      commit: expect.stringMatching(/^([0-9a-f]{12}(\.dirty)?|unknown)$/),
      libnl: { version: expect.stringMatching(/^3\.\d+\.\d+$/) },
    });
  });

  test("prints its help on standard output", async () => {
    for (const form of ["help", "--help", "-h"]) {
      const { status, stdout, stderr } = await run([FLANNELD, form]);
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toContain("--etcd-endpoints URLS");
    }
  });

  test("refuses what it cannot read with one line", async () => {
    expect(await run([FLANNELD, "--etcd-endpoint", "x"])).toEqual({
      status: 2,
      stdout: "",
      stderr: "flanneld: unknown flag --etcd-endpoint; the nearest known flag is " +
        "--etcd-endpoints; see flanneld --help\n",
    });
    expect(await run([FLANNELD, "--subnet-lease-renew-margin=1440"])).toMatchObject({ status: 1 });
  });

  test("prints the licences of what it contains, the LGPL in full", async () => {
    const { status, stdout } = await run([FLANNELD, "licenses"]);
    expect(status).toBe(0);
    for (
      const text of ["libnl-3", "GNU LESSER GENERAL PUBLIC LICENSE", "@connectrpc/connect-node"]
    ) {
      expect(stdout).toContain(text);
    }
    expect(stdout).toContain(readFileSync(`${ROOT}licenses/LGPL-2.1.txt`, "utf8"));
  });

  test("ends with one line if it cannot write its output, silently on a closed pipe", async () => {
    expect(await run(["sh", "-c", '"$0" licenses >/dev/full', FLANNELD])).toEqual({
      status: 1,
      stdout: "",
      stderr: "flanneld: cannot write the output: ENOSPC: no space left on device, write\n",
    });
    // The reader has ended before anything is written.
    const pipe = 'exec 3> >(true); wait $!; "$0" licenses >&3; echo $? >&2';
    expect(await run(["bash", "-c", pipe, FLANNELD])).toEqual({
      status: 0,
      stdout: "",
      stderr: "141\n",
    });
  });

  test("runs no foreign code from the directory it is started in", async () => {
    const cwd = `${directory}/hostile`;
    mkdirSync(cwd);
    writeFileSync(`${cwd}/preload.ts`, "console.log('owned'); process.exit(66);");
    writeFileSync(`${cwd}/bunfig.toml`, 'preload = ["./preload.ts"]\n');
    writeFileSync(
      `${cwd}/.env`,
      "FLANNELD_HEALTHZ_PORT=nonsense\nBUN_OPTIONS=--preload=./preload.ts\n",
    );
    writeFileSync(`${cwd}/package.json`, '{"type":"commonjs","imports":{"#x":"./preload.ts"}}');
    writeFileSync(`${cwd}/tsconfig.json`, '{"extends":"./none.json"}');
    expect(await run([FLANNELD, "version"], { cwd })).toMatchObject({ status: 0, stderr: "" });
    // Variables can name code, too; docs/security.md lists those that the runtime reads.
    const env = {
      NODE_OPTIONS: "--require=./preload.ts --import=./preload.ts",
      BUN_INSPECT_PRELOAD: "./preload.ts",
      NODE_PATH: ".",
    };
    expect(await run([FLANNELD, "version"], { cwd, env })).toMatchObject({ status: 0, stderr: "" });
    // A value from .env would be refused before etcd is asked for.
    const { stderr } = await run(
      ["timeout", "2", FLANNELD, "--etcd-endpoints=http://127.0.0.1:1"],
      {
        cwd,
      },
    );
    expect(stderr).not.toContain("nonsense");
  });
});

describe("the executable under another name", () => {
  const supported = '"supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]';

  test("flannel is the CNI plugin: a copy, a hard link and a symbolic link", async () => {
    const make = { copy: copyFileSync, hard: linkSync, symbolic: symlinkSync };
    // A hard link cannot lead to another file system.
    copyFileSync(FLANNELD, `${directory}/flanneld`);
    for (const [kind, link] of Object.entries(make)) {
      mkdirSync(`${directory}/${kind}`);
      link(`${directory}/flanneld`, `${directory}/${kind}/flannel`);
      const env = { CNI_COMMAND: "VERSION" };
      const outcome = await run([`${directory}/${kind}/flannel`], { env });
      expect(outcome).toMatchObject({ status: 0, stderr: "" });
      expect(outcome.stdout).toContain(supported);
    }
    // With arguments, it is the daemon: Go's has this name, too.
    const { stdout } = await run([`${directory}/copy/flannel`, "--version"]);
    expect(stdout).toStartWith("v");
  });

  test("is the CNI plugin as a subcommand, too, which takes no arguments", async () => {
    const { stdout } = await run([FLANNELD, "cni"], { env: { CNI_COMMAND: "VERSION" } });
    expect(stdout).toContain(supported);
    expect(await run([FLANNELD, "cni"])).toMatchObject({
      status: 0,
      stdout: "",
      stderr: expect.stringMatching(/^CNI plugin flannel v.*\nCNI versions: 0\.1\.0, /),
    });
    expect(await run([FLANNELD, "cni", "x"])).toEqual({
      status: 2,
      stdout: "",
      stderr: 'flanneld cni: unexpected argument "x"; it takes no arguments; ' +
        "see flanneld cni --help\n",
    });
    for (const command of [["cni", "--help"], ["help", "cni"]]) {
      const { status, stdout } = await run([FLANNELD, ...command]);
      expect([status, stdout.split("\n")[0]]).toEqual([
        0,
        "Usage: flanneld cni < NETWORK-CONFIGURATION",
      ]);
    }
  });

  test("an error of the plugin is JSON on standard output", async () => {
    const env = {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c",
      CNI_NETNS: "/run/netns/c",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/nowhere",
    };
    const config = '{"cniVersion":"1.0.0","name":"n","subnetFile":"/nowhere/subnet.env"}';
    const command = ["sh", "-c", `echo '${config}' | "$0" cni`, FLANNELD];
    const { status, stdout, stderr } = await run(command, { env });
    expect([status, stderr]).toEqual([1, ""]);
    expect(JSON.parse(stdout)).toMatchObject({
      cniVersion: "1.0.0",
      code: 11,
      msg: expect.stringContaining("loadFlannelSubnetEnv failed: open /nowhere/subnet.env: no "),
    });
  });

  test("installs itself as the plugin, and its list of plugins", async () => {
    const [conf, target] = [`${directory}/cni-conf.json`, `${directory}/net.d`];
    writeFileSync(conf, '{"name":"cbr0","plugins":[{"type":"flannel"}]}');
    const flags = [`--conf=${conf}`, `--conf-dir=${target}`, `--bin-dir=${directory}/cni-bin`];
    expect(await run([FLANNELD, "install-cni", ...flags])).toMatchObject({ status: 0, stderr: "" });
    const { stdout } = await run([`${directory}/cni-bin/flannel`], {
      env: { CNI_COMMAND: "VERSION" },
    });
    expect(stdout).toContain(supported);
    // By the plugin itself, while it runs under that name.
    const again = await run([`${directory}/cni-bin/flannel`, "install-cni", ...flags]);
    expect(again.stdout).toBe(
      `${directory}/cni-bin/flannel is up to date\n${target}/10-flannel.conflist is up to date\n`,
    );
  });

  test("install-conf copies a file, as the program of Go flannel's image", async () => {
    symlinkSync(FLANNELD, `${directory}/install-conf`);
    const [source, target] = [`${directory}/any.json`, `${directory}/10-any.conflist`];
    writeFileSync(source, "[]");
    expect(await run([`${directory}/install-conf`, source, target])).toEqual({
      status: 0,
      stdout: "",
      stderr: "",
    });
    expect(readFileSync(target, "utf8")).toBe("[]");
    expect(await run([`${directory}/install-conf`])).toMatchObject({
      status: 2,
      stderr: "install-conf: SOURCE is missing; see install-conf --help\n",
    });
  });
});

describe("the build", () => {
  /** Builds a copy of a tree; returns the path of the executable. */
  async function buildCopy(tree: string, name: string): Promise<string> {
    const copy = `${directory}/${name}`;
    mkdirSync(copy, { recursive: true });
    const sources = [
      "src",
      "ffi",
      "deploy/kube-flannel.yml",
      "licenses",
      "LICENSE",
      "NOTICE",
      "compile.sh",
      "package.json",
      "package-lock.json",
      ".git",
    ];
    for (const source of sources) {
      cpSync(`${tree}/${source}`, `${copy}/${source}`, { recursive: true });
    }
    // Hard links where that is possible: the packages are large.
    const linked = await run(["cp", "-al", `${tree}/node_modules`, copy]);
    if (linked.status !== 0) {
      rmSync(`${copy}/node_modules`, { recursive: true, force: true });
      expect(await run(["cp", "-a", `${tree}/node_modules`, copy])).toMatchObject({ status: 0 });
    }
    const built = await run(["bash", "compile.sh"], {
      cwd: copy,
      // The caller's environment may not affect the bytes.
      env: { NODE_ENV: name, TZ: "Asia/Tokyo", LANG: "C", BUN_CONFIG_VERBOSE_FETCH: "1" },
    });
    expect(built).toMatchObject({ status: 0 });
    return `${copy}/dist/flanneld`;
  }

  test("gives the same bytes in two directories", async () => {
    const first = await buildCopy(ROOT, "one");
    const second = await buildCopy(`${directory}/one`, "a/deeper/place");
    const hashes = [first, second].map((file) => Bun.SHA256.hash(readFileSync(file), "hex"));
    expect(hashes[0]).toBe(hashes[1] as string);
    const text = readFileSync(first, "latin1");
    expect(text.includes(directory)).toBe(false);
    expect(text.includes(ROOT)).toBe(false);
  }, 600_000);

  test("for another processor carries that processor's runtime and libnl", async () => {
    expect(await run(["bash", "compile.sh", "linux-arm64"])).toMatchObject({ status: 0 });
    const output = `${ROOT}dist/flanneld-linux-arm64`;
    const bytes = readFileSync(output);
    rmSync(output);
    const EM_AARCH64 = 183; // elf.h
    const headers: number[] = [];
    for (let at = bytes.indexOf("\x7fELF"); at >= 0; at = bytes.indexOf("\x7fELF", at + 1)) {
      if (bytes[at + 4] === 2 && bytes[at + 6] === 1) headers.push(bytes.readUInt16LE(at + 18));
    }
    // The runtime and four libraries.
    expect(headers.filter((machine) => machine === EM_AARCH64).length).toBeGreaterThanOrEqual(5);
    expect(headers.filter((machine) => machine === 62)).toEqual([]);
  }, 600_000);

  test("names the targets when it is asked for an unknown one", async () => {
    const { status, stderr } = await run(["bash", "compile.sh", "windows"]);
    expect(status).toBe(1);
    expect(stderr).toContain("unknown target windows; there are linux-x64");
  });
});
