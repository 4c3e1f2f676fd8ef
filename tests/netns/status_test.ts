/** `flanneld status` and the status socket, with the compiled daemon. */

import { describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { StatusDocument } from "../../src/control/status_document.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { Cluster } from "../support/cluster.ts";
import { FLANNELD, type Host } from "../support/host.ts";
import { schemaProblems, statusSchema } from "../support/json_schema.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };

interface Run {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

async function flanneld(...args: readonly string[]): Promise<Run> {
  const { exitCode: status, stdout: out, stderr: err } = await runProgram(FLANNELD, args, {
    timeoutMs: 30_000,
    env: { PATH: process.env["PATH"] ?? "" },
  });
  return { status, out, err };
}

function socketOf(host: Host): string {
  return join(host.directory, "flanneld.sock");
}

async function statusOf(host: Host): Promise<StatusDocument> {
  const { out, err } = await flanneld("status", "--json", `--subnet-file=${host.subnetFile}`);
  expect(err).toBe("");
  const [document] = JSON.parse(out) as StatusDocument[];
  expect(schemaProblems(document, statusSchema())).toEqual([]);
  return document as StatusDocument;
}

/** The daemon answers from a moment after `/readyz` is 200. */
async function opened(host: Host): Promise<void> {
  await eventually("the socket is open", 30_000, () => existsSync(socketOf(host)));
}

async function cluster(config: object, hosts = 1): Promise<Cluster> {
  const made = await Cluster.create({ hosts, families: [4, 6] });
  rememberSubnets(made, { ipv4: true, ipv6: "EnableIPv6" in config });
  await made.configure(config);
  return made;
}

describe("flanneld status", () => {
  test("shows two nodes with vxlan, dual stack", async () => {
    await using made = await cluster({ ...DUAL, Backend: { Type: "vxlan" } }, 2);
    await made.startAll();
    const host = made.host(1);
    await opened(host);
    const document = await eventually("both are there", 30_000, async () => {
      const found = await statusOf(host);
      return found.peers?.tunnel === 1 ? found : undefined;
    });
    expect(document).toMatchObject({
      pid: host.daemon.pid,
      subnetFile: host.subnetFile,
      ready: true,
      step: null,
      node: { publicAddresses: [host.address(4), host.address(6)] },
      network: { subnets: ["10.5.1.0/24", "fd00:5:0:1::/64"] },
      backend: { type: "vxlan", devices: ["flannel.1", "flannel-v6.1"] },
      mtu: { bytes: 1430, baseBytes: 1500, overheadBytes: 70 },
      store: { kind: "etcd", endpoint: host.endpoints },
      rules: { mode: "iptables", inSync: true },
      peers: { tunnel: 1, direct: 0, unreachable: 0, ignored: 0, departing: 0 },
      problems: [],
    });
    expect(document.externalInterface?.reasons[0]).toContain("default route");
    const expiryMs = Date.parse(document.store?.lease?.expiresAt ?? "") - Date.now();
    expect(expiryMs / 3_600_000).toBeWithin(23, 24.1);
    const text = await flanneld("status", `--subnet-file=${host.subnetFile}`);
    expect(text).toMatchObject({ status: 0, err: "" });
    expect(text.out).toMatch(/^flanneld v\S+: ready, process \d+, running for /);
    expect(text.out).not.toContain("\u001b");
  }, 120_000);

  test("shows a repair", async () => {
    await using made = await cluster(VXLAN);
    const host = made.host(1);
    await host.up();
    await opened(host);
    await host.sh("ip address del 10.5.1.0/32 dev flannel.1");
    const [repair] = await eventually("it is repaired", 30_000, async () => {
      const { repairs } = await statusOf(host);
      return repairs.length > 0 ? repairs : undefined;
    });
    expect(repair).toMatchObject({ action: "restored", entry: "addr 10.5.1.0/32 dev flannel.1" });
  }, 120_000);

  test("exits with 1 and says what to do while a node waits for its configuration", async () => {
    await using made = await Cluster.create({ hosts: 1 });
    const host = made.host(1);
    host.start();
    await opened(host);
    const { status, out } = await flanneld("status", `--subnet-file=${host.subnetFile}`);
    expect(status).toBe(1);
    expect(out).toContain(": not ready, process ");
    expect(out).toContain("waiting for a network configuration at /coreos.com/network/config");
    expect(out).toContain("to do: ");
  }, 120_000);

  test("exits with 3 without a daemon, or after it was killed", async () => {
    await using made = await cluster(VXLAN);
    const host = made.host(1);
    const none = await flanneld("status", `--subnet-file=${host.subnetFile}`);
    expect(none).toMatchObject({ status: 3, out: "" });
    expect(none.err).toMatch(/^flanneld status: no flanneld runs with --subnet-file=\S+; start/);
    expect(await flanneld("status", "--json", `--subnet-file=${host.subnetFile}`))
      .toMatchObject({ status: 3, out: "[]\n" });
    await host.up();
    await opened(host);
    await host.daemon.stop("SIGKILL");
    expect(lstatSync(socketOf(host)).isSocket()).toBe(true);
    expect(await flanneld("status", `--subnet-file=${host.subnetFile}`)).toMatchObject({
      status: 3,
    });
    await host.up();
    await eventually(
      "the next one has it",
      30_000,
      async () => (await flanneld("status", `--subnet-file=${host.subnetFile}`)).status === 0,
    );
  }, 120_000);

  test("shows both daemons in /run/flannel, to root only", async () => {
    await using made = await Cluster.create({ hosts: 1 });
    const host = made.host(1);
    const run = join(host.directory, "run");
    const names = ["subnet.env", "blue.env"];
    for (const name of names) {
      host.start({ flags: [`--subnet-file=/run/flannel/${name}`, "--healthz-port=0"] });
    }
    const sockets = ["flanneld.sock", "blue.env.sock"].map((name) => join(run, "flannel", name));
    await eventually("both are open", 30_000, () => sockets.every((path) => existsSync(path)));
    for (const path of sockets) {
      expect(lstatSync(path)).toMatchObject({ uid: 0, gid: 0 });
      expect(lstatSync(path).mode & 0o777).toBe(0o600);
    }
    const out = await host.sh(`mount --bind ${run} /run; ${FLANNELD} status --json || echo $?`);
    const [json = "", status] = [out.slice(0, out.lastIndexOf("]") + 1), out.trim().at(-1)];
    expect(status).toBe("1");
    expect((JSON.parse(json) as StatusDocument[]).map(({ subnetFile }) => subnetFile).sort())
      .toEqual(["/run/flannel/blue.env", "/run/flannel/subnet.env"]);
    // Even with access to the file, another user is refused.
    const refused = await host.sh(`mount --bind ${run} /run; cp ${FLANNELD} /run/copy
      chmod 755 /run /run/flannel; chmod 666 /run/flannel/flanneld.sock
      setpriv --reuid=65534 --regid=65534 --clear-groups \\
        /run/copy status --subnet-file=/run/flannel/subnet.env 2>&1 || echo $?`);
    expect(refused).toContain("only root and the user of flanneld may use this");
    expect(refused).toEndWith("\n1\n");
  }, 120_000);
});

describe("the socket", () => {
  test("is removed when the daemon ends", async () => {
    await using made = await cluster(VXLAN);
    const host = made.host(1);
    await host.up();
    await opened(host);
    expect((await host.daemon.stop()).code).toBe(0);
    expect(existsSync(socketOf(host))).toBe(false);
  }, 120_000);

  test("is not taken from a live daemon, and taken when that has ended", async () => {
    await using made = await cluster(VXLAN);
    const host = made.host(1);
    const first = await host.up();
    await opened(host);
    const second = host.start({ flags: ["--healthz-port=0"] });
    await eventually(
      "the second says so",
      30_000,
      () => second.logLines(/cannot serve flanneld status at .*: another process/).length === 1,
    );
    expect((await statusOf(host)).pid).toBe(first.pid);
    await first.stop();
    const { pid } = await eventually(
      "the second has it",
      30_000,
      async () => existsSync(socketOf(host)) ? await statusOf(host) : undefined,
    );
    expect(pid).toBe(second.pid);
  }, 120_000);

  test.each(["symbolic link", "regular file", "directory"])(
    "does not replace a %s, and the node works without it",
    async (kind) => {
      await using made = await cluster(VXLAN);
      const host = made.host(1);
      const target = join(host.directory, "precious");
      writeFileSync(target, "precious");
      if (kind === "symbolic link") symlinkSync(target, socketOf(host));
      else if (kind === "directory") mkdirSync(socketOf(host));
      else writeFileSync(socketOf(host), "precious");
      const daemon = await host.up();
      await eventually("it says so", 30_000, () => daemon.log().includes(`it is a ${kind}, not a`));
      expect(await host.isReady()).toBe(true);
      expect((await daemon.stop()).code).toBe(0);
      expect(existsSync(socketOf(host))).toBe(true);
      expect(readFileSync(target, "utf8")).toBe("precious");
    },
    120_000,
  );

  test("tolerates clients that send garbage, hold connections, or never read", async () => {
    await using made = await cluster(VXLAN);
    const host = made.host(1);
    await host.up();
    await opened(host);
    const random = crypto.getRandomValues(new Uint8Array(60_000));
    const connect = async (i: number) => {
      const socket = await Bun.connect({ unix: socketOf(host), socket: { data: () => undefined } });
      if (i % 3 === 0) socket.write(random);
      if (i % 3 === 1) socket.write("GET /v1/status HTTP/1.1\r\n");
      return socket;
    };
    // Of those that are too many, some are closed before the runtime reports them as open.
    const results = await Promise.allSettled(Array.from({ length: 100 }, (_, i) => connect(i)));
    const held = results.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
    expect(held.length).toBeGreaterThan(0);
    expect(await host.isReady()).toBe(true);
    await eventually(
      "they are disconnected",
      30_000,
      async () => (await flanneld("status", `--subnet-file=${host.subnetFile}`)).status === 0,
    );
    for (const one of held) one.terminate();
    expect(host.daemon.log()).not.toContain("bug");
  }, 120_000);
});

describe("flanneld status --watch", () => {
  test("redraws a terminal in place, and restores it", async () => {
    await using made = await cluster(VXLAN);
    const host = made.host(1);
    await host.up();
    await opened(host);
    const command = `${FLANNELD} status --watch --subnet-file=${host.subnetFile}`;
    const { stdout } = await runProgram("script", [
      "-qec",
      `stty cols 100 rows 40; timeout --signal=INT 3.5 ${command}`,
      "/dev/null",
    ], { timeoutMs: 30_000, env: { PATH: process.env["PATH"] ?? "", TERM: "xterm" } });
    expect(stdout).toStartWith("\u001b[?1049h\u001b[?25l\u001b[H");
    expect(stdout.split("\u001b[H").length).toBeWithin(3, 6);
    expect(stdout).toContain("\u001b[32mready\u001b[0m");
    expect(stdout).toEndWith("\u001b[?25h\u001b[?1049l");
    expect(stdout).not.toContain("\u001b[2J");
  }, 120_000);

  test("prints a line of JSON each second where there is no terminal", async () => {
    await using made = await cluster(VXLAN);
    const host = made.host(1);
    await host.up();
    await opened(host);
    const args = ["status", "--watch", "--json", `--subnet-file=${host.subnetFile}`];
    const { stdout, exitCode } = await runProgram(
      "timeout",
      ["--preserve-status", "--signal=INT", "2.5", FLANNELD, ...args],
      { timeoutMs: 30_000, env: { PATH: process.env["PATH"] ?? "" } },
    );
    expect(exitCode).toBe(0);
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line) as StatusDocument[]);
    expect(lines.length).toBeWithin(2, 5);
    expect(lines.at(-1)?.[0]?.ready).toBe(true);
  }, 120_000);
});

describe("flanneld peers", () => {
  async function path(host: Host, target: string): Promise<Run> {
    const { stdout: out, stderr: err, exitCode: status } = await runProgram("ip", [
      ...["netns", "exec", host.station.namespace, FLANNELD, "peers"],
      ...[`--subnet-file=${host.subnetFile}`, target],
    ], { timeoutMs: 30_000, env: { PATH: process.env["PATH"] ?? "" } });
    return { status, out, err };
  }

  test.each([["vxlan", 5], ["host-gw", 2]] as const)(
    "follows a packet with %s, and finds the step that is wrong",
    async (type, count) => {
      await using made = await cluster({ ...IPV4, Backend: { Type: type } }, 2);
      await made.startAll();
      const host = made.host(1);
      await opened(host);
      const target = "10.5.2.9";
      const good = await eventually("all steps are right", 30_000, async () => {
        const found = await path(host, target);
        return found.status === 0 ? found : undefined;
      });
      expect(good.err).toBe("");
      expect(good.out).toMatch(/^SUBNET +PUBLIC ADDRESS +PATH/);
      expect(good.out.match(/^ \d {2}ok /gm)).toHaveLength(count);
      await host.sh(
        "ip rule add to 10.5.2.9 lookup 77 prio 77; ip route add 10.5.2.9 dev lo table 77",
      );
      const wrong = await path(host, target);
      expect(wrong.status).toBe(1);
      expect(wrong.out).toContain(" 1  wrong  route to 10.5.2.9: dev lo");
      expect(wrong.out).toContain("another route or rule takes precedence");
      expect(await path(host, "10.9.9.9")).toMatchObject({
        status: 1,
        err: "flanneld peers: no other node has 10.9.9.9\n",
      });
    },
    120_000,
  );
});
