/** deploy/install.sh: from a release host to three machines that reach one another. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram, type RunResult } from "../../src/process/run_program.ts";
import {
  attachAll,
  expectMachineMesh,
  FLANNEL_FILES,
  joinTarget,
  pingWorkload,
  unitProperty,
} from "../support/machines/flannel_machines.ts";
import type { Machine } from "../support/machines/machine.ts";
import { Machines } from "../support/machines/machines.ts";
import {
  QUICK_START_IMAGE,
  QUICK_START_TITLE,
  recordQuickStart,
} from "../support/machines/quick_start.ts";
import {
  compressRelease,
  damageRelease,
  INSTALL_SCRIPT,
  ReleaseHost,
  writeRelease,
} from "../support/machines/release_host.ts";
import { runCommand } from "../support/run_command.ts";
import { terminalSvg } from "../support/terminal/terminal_svg.ts";
import { eventually } from "../support/wait.ts";

const EXECUTABLE = "/usr/local/bin/flanneld";
const SHELLS = ["dash", "busybox sh"];
const READY_MS = 60_000;
const NODE_SETTINGS = "FLANNELD_IP_MASQ=true FLANNELD_IFACE=eth1";
/** With characters that systemd and a shell interpret. */
const QUOTED_SETTINGS = "FLANNELD_IFACE= FLANNELD_IFACE_REGEX='^\\w+1$'";

/** Releases; each version is a directory. */
let releases: string;

beforeAll(async () => {
  releases = mkdtempSync(join(tmpdir(), "releases-"));
  await writeRelease(join(releases, "v1"), { appended: "\n" });
  await compressRelease(join(releases, "v1"));
  await writeRelease(join(releases, "v2"), { appended: "\n\n" });
  const broken = '#!/bin/sh\n[ "$1" != --version ] || exec echo v3\nexit 1\n';
  await writeRelease(join(releases, "v3"), { script: broken });
  await writeRelease(join(releases, "v4"), { script: broken });
  damageRelease(join(releases, "v4"));
  writeFileSync(join(releases, "stable"), "v1\n");
}, 60_000);

afterAll(() => rmSync(releases, { recursive: true, force: true }));

test("shellcheck has no complaint", async () => {
  await runCommand("shellcheck", [INSTALL_SCRIPT]);
});

describe.each(SHELLS)("%s", (shell) => {
  test.each([
    ["an option that it does not have", ["--quick"], 'unknown argument "--quick"; see --help'],
    ["an option without its value", ["--mirror"], "--mirror needs a value; see --help"],
    ["a mirror without TLS", ["--mirror", "http://192.0.2.1"], "does not begin with https://"],
    ["no source", [], "name one by --mirror or --from"],
    ["a version that is a path", ["--from", "/etc", "--version", "../x"], "is not a version"],
    ["a purge alone", ["--purge"], "--purge needs --uninstall"],
  ])("refuses %s in one line", async (_name, args, message) => {
    const { exitCode, stdout, stderr } = await dryRun(shell, args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toMatch(/^install\.sh: .*\n$/);
    expect(stderr).toContain(message);
  });

  test("verifies the signature of a release", async () => {
    const release = join(releases, "v2");
    const key = await sign(join(release, "SHA256SUMS"));
    const args = ["--from", release, "--minisign-key", key];
    expect((await dryRun(shell, args)).stdout).toContain(`would write ${EXECUTABLE}\n`);
    writeFileSync(join(release, "SHA256SUMS"), checksums("v2").replaceAll(/^./gm, "0"));
    const { exitCode, stderr } = await dryRun(shell, args);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^install\.sh: the signature .*SHA256SUMS\.minisig is wrong: .*\n$/);
    await writeRelease(release, { appended: "\n\n" });
  });
});

describe("three machines", () => {
  let machines: Machines;
  let host: ReleaseHost;

  beforeAll(async () => {
    machines = await Machines.create({
      count: 3,
      files: [
        ...FLANNEL_FILES.filter(({ path }) => path.startsWith("/etc/sysctl.d/")),
        { path: "/usr/local/bin/busybox", content: { copyOf: "/bin/busybox" }, mode: 0o755 },
      ],
    });
    await machines.boot();
    host = new ReleaseHost(releases);
    const certificate = await host.caCertificate();
    await Promise.all(machines.all.map((machine) => machine.write("/etc/ca.crt", certificate)));
  }, 180_000);

  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
    await machines?.[Symbol.asyncDispose]();
  }, 60_000);

  test("a script that is cut off does nothing", async () => {
    const one = machines.at(1);
    await one.write("/root/install.sh", readFileSync(INSTALL_SCRIPT));
    const { size } = statSync(INSTALL_SCRIPT);
    const before = await filesOf(one);
    const lengths = [
      ...Array.from({ length: 10 }, (_, index) => Math.floor(size * index / 10)),
      ...Array.from({ length: 40 }, (_, index) => size - 2 - index),
    ];
    await one.run(`for length in ${lengths.join(" ")}; do
      head -c $length /root/install.sh |
        ${ENVIRONMENT} INSTALL_FLANNELD_MIRROR=${host.url} sh || true
    done >/dev/null 2>&1`);
    expect(await filesOf(one)).toBe(before);
    expect(host.requests).toEqual([]);
  }, 60_000);

  test("a dry run says what it would do, and changes nothing", async () => {
    const one = machines.at(1);
    const before = await filesOf(one);
    const output = await install(one, "--datastore --node --dry-run", NODE_SETTINGS);
    expect(output).toContain(`would write ${EXECUTABLE}\n`);
    expect(output).toContain("would write /etc/systemd/system/flannel-datastore.service\n");
    expect(output).toContain("would start or restart flanneld\n");
    expect(await filesOf(one)).toBe(before);
  }, 60_000);

  test("the commands of README.md give a network", async () => {
    const session = await recordQuickStart(machines, { version: "v1", caFile: "/etc/ca.crt" });
    if (process.env["UPDATE_GOLDENS"] === "1") {
      const options = { title: QUICK_START_TITLE, columns: 96 };
      writeFileSync(QUICK_START_IMAGE, terminalSvg(session, options));
    }
    const text = session.flatMap(({ output }) => output.map((line) => line.text)).join("\n");
    expect(text).toContain("install.sh: flannel-datastore is ready\n");
    expect(text).toContain("3 received, 0% packet loss");
    expect(text).not.toContain("exit status");
    await Promise.all(machines.all.map(awaitReady));
    for (const machine of machines.all) {
      expect(await machine.run("systemctl is-enabled flanneld")).toBe("enabled\n");
      expect(await machine.run("stat -c %a /etc/flanneld/flanneld.env")).toBe("600\n");
      await machine.run("ls /usr/local/share/man/man8/flanneld-lab.8");
      await machine.run("bash -n /usr/local/share/bash-completion/completions/flanneld");
    }
    await attachAll(machines);
    await expectMachineMesh(machines);
  }, 120_000);

  test("a second run changes nothing and restarts nothing", async () => {
    const before = await Promise.all(machines.all.map(runsOf));
    host.requests.length = 0;
    const [one, two] = [machines.at(1), machines.at(2)];
    // Those of the environment, and those of the file.
    const outputs = await Promise.all([install(one, "", NODE_SETTINGS), install(two, "")]);
    for (const output of outputs) expect(output).toBe("install.sh: nothing to change\n");
    expect(await Promise.all(machines.all.map(runsOf))).toEqual(before);
    expect(host.requests.filter((path) => path.includes("linux"))).toEqual([]);
  }, 60_000);

  test("another setting restarts what reads it, and the other settings stay", async () => {
    const one = machines.at(1);
    const before = await runsOf(one);
    await install(one, "", `${QUOTED_SETTINGS} FLANNELD_SUBNET_LEASE_RENEW_MARGIN=61`);
    const after = await runsOf(one);
    expect(after["flannel-datastore"]).toBe(before["flannel-datastore"] as string);
    expect(after["flanneld"]).not.toBe(before["flanneld"] as string);
    const settings = await one.run("cat /etc/flanneld/flanneld.env");
    expect(settings).toContain("\nFLANNELD_IP_MASQ=true\n");
    expect(settings).toContain("\nFLANNELD_SUBNET_LEASE_RENEW_MARGIN=61\n");
    const environment = `/proc/${await unitProperty(one, "MainPID")}/environ`;
    const variables = await one.run(`tr '\\0' '\\n' <${environment}`);
    expect(variables).toContain("FLANNELD_IFACE_REGEX=^\\w+1$\n");
    expect(variables).not.toContain("FLANNELD_IFACE=");
  }, 60_000);

  test("an upgrade loses no packet", async () => {
    const ping = await pingWorkload(machines.at(2), machines.at(1));
    for (const machine of machines.all) {
      expect(await install(machine, "--version v2")).toContain("flanneld is ready\n");
      expect(await runningDigest(machine)).toBe(digestIn("v2"));
    }
    expect((await ping.stop()).lost).toEqual([]);
  }, 120_000);

  test("a version that does not start is rolled back, and no packet is lost", async () => {
    const two = machines.at(2);
    const before = await filesOf(two);
    const ping = await pingWorkload(machines.at(1), two);
    const output = await refusal(two, "--version v3");
    expect(output).toContain("flanneld does not start; see journalctl -u flanneld\n");
    expect(output).toContain("rolled back; flanneld is ready\n");
    expect(await runningDigest(two)).toBe(digestIn("v2"));
    expect(await filesOf(two)).toBe(before);
    expect((await ping.stop()).lost).toEqual([]);
  }, 120_000);

  test("an executable with another sha256 is refused", async () => {
    const two = machines.at(2);
    const before = [await filesOf(two), await runsOf(two)];
    expect(await refusal(two, "--version v4")).toMatch(
      /^install\.sh: the sha256 of https:.*\/v4\/flanneld-.* is .* instead of .*\nstatus 1\n$/,
    );
    expect([await filesOf(two), await runsOf(two)]).toEqual(before);
  }, 60_000);

  test("a host that the CA does not vouch for is refused", async () => {
    const output = await refusal(machines.at(2), "", "CURL_CA_BUNDLE=");
    expect(output).toMatch(/^install\.sh: cannot download https:.*certificate.*\nstatus 1\n$/);
  }, 60_000);

  test("a removal leaves the settings, and nothing of the network", async () => {
    const three = machines.at(3);
    const settings = await three.run("cat /etc/flanneld/flanneld.env");
    await install(three, "--uninstall");
    expect(await three.run("cat /etc/flanneld/flanneld.env")).toBe(settings);
    expect(await three.run("find / -xdev -name '*flannel*' -not -path '/etc/sysctl.d/*' | sort"))
      .toBe("/etc/flanneld\n/etc/flanneld/flanneld.env\n/var/lib/flannel\n");
    expect(await three.run("ls /sys/class/net; ip route; iptables-save; systemctl --failed"))
      .not.toMatch(/flannel|FLANNEL/);
    await install(three, "--uninstall --purge");
    expect(await three.run("ls /etc /var/lib")).not.toMatch(/^flannel/m);
  }, 60_000);

  test("a directory without a network is enough, also for busybox", async () => {
    const three = machines.at(3);
    await three.run(
      `mkdir /root/v2; cd /root/v2; for file in $(curl -fsS --cacert /etc/ca.crt ` +
        `${host.url}/v2/SHA256SUMS | sed 's/.*  //') SHA256SUMS; do ` +
        `curl -fsSO --cacert /etc/ca.crt ${host.url}/v2/$file; done`,
    );
    const requests = host.requests.length;
    const settings = `${NODE_SETTINGS} FLANNELD_JOIN=${await joinTarget(machines.at(1))}`;
    await three.run(`${settings} busybox sh /root/v2/install.sh --from /root/v2`);
    expect(host.requests.length).toBe(requests);
    await awaitReady(three);
    await attachAll(machines);
    await expectMachineMesh(machines);
  }, 120_000);

  /** Runs the script as docs/install.md says; returns its output. */
  async function install(machine: Machine, args: string, settings = ""): Promise<string> {
    return await machine.run(command(args, settings));
  }

  /** The output of an installation that fails, and its status. */
  async function refusal(machine: Machine, args: string, settings = ""): Promise<string> {
    return await machine.run(`${command(args, settings)} || echo status $?`);
  }

  function command(args: string, settings: string): string {
    return `curl --cacert /etc/ca.crt -fsS ${host.url}/v1/install.sh | ` +
      `${ENVIRONMENT} ${settings} sh -s -- --mirror ${host.url} ${args} 2>&1`;
  }
});

const ENVIRONMENT = "CURL_CA_BUNDLE=/etc/ca.crt";

async function dryRun(
  shell: string,
  args: readonly string[],
): Promise<RunResult> {
  const [program, ...words] = shell.split(" ");
  return await runProgram(program as string, [...words, INSTALL_SCRIPT, "--dry-run", ...args]);
}

/** Signs a file with a new key; returns the public key. */
async function sign(path: string): Promise<string> {
  const [publicKey, secretKey] = [join(releases, "minisign.pub"), join(releases, "minisign.key")];
  await runCommand("minisign", ["-G", "-W", "-f", "-p", publicKey, "-s", secretKey]);
  await runCommand("minisign", ["-S", "-s", secretKey, "-m", path]);
  return readFileSync(publicKey, "utf8").trim().split("\n").at(-1) as string;
}

function checksums(version: string): string {
  return readFileSync(join(releases, version, "SHA256SUMS"), "utf8");
}

/** The sha256 of a version's executable. */
function digestIn(version: string): string {
  const [, digest] = /^(\w+) {2}flanneld-linux-\w+$/m.exec(checksums(version)) ?? [];
  return digest as string;
}

async function runningDigest(machine: Machine): Promise<string> {
  const pid = await unitProperty(machine, "MainPID");
  return (await machine.run(`sha256sum /proc/${pid}/exe`)).split(" ")[0] as string;
}

/** The present run of each unit (systemd.exec(5), INVOCATION_ID). */
async function runsOf(machine: Machine): Promise<Record<string, string>> {
  const runs: Record<string, string> = {};
  for (const unit of ["flanneld", "flannel-datastore"]) {
    runs[unit] = await unitProperty(machine, "InvocationID", unit);
  }
  return runs;
}

/** The names, modes, sizes and times of the files of which the script writes some. */
async function filesOf(machine: Machine): Promise<string> {
  return await machine.run(
    "find /etc /root /usr/local /usr/share /var/tmp -xdev " +
      "-not -type d -printf '%p %m %s %T@\\n' | sort",
  );
}

async function awaitReady(machine: Machine): Promise<void> {
  await eventually(`flanneld is ready on ${machine.name}`, READY_MS, async () => {
    return await unitProperty(machine, "ActiveState") === "active";
  });
}
