/** The extension backend: commands that set up a data plane, on real hosts. */

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster, PREFIX } from "../support/cluster.ts";
import { FLANNELD, type Host, type StartOptions } from "../support/host.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually, throughout } from "../support/wait.ts";

/** The two examples of flannel's manual, Documentation/extension.md, verbatim. */
const MANUAL_HOST_GW = {
  Network: "10.0.0.0/16",
  Backend: {
    Type: "extension",
    SubnetAddCommand: 'ip route add "$SUBNET" via "$PUBLIC_IP"',
    SubnetRemoveCommand: 'ip route del "$SUBNET" via "$PUBLIC_IP"',
  },
};
const MANUAL_VXLAN = {
  Network: "10.50.0.0/16",
  Backend: {
    Type: "extension",
    PreStartupCommand:
      'export VNI=1; export IF_NAME=flannel-vxlan; ip link del "$IF_NAME" 2>/dev/null; ' +
      'ip link add "$IF_NAME" type vxlan id "$VNI" dstport 8472 && ' +
      'cat "/sys/class/net/${IF_NAME}/address"',
    PostStartupCommand:
      "export IF_NAME=flannel-vxlan; export SUBNET_IP=$(echo \"$SUBNET\" | cut -d'/' -f 1); " +
      'ip addr add "${SUBNET_IP}/32" dev "$IF_NAME" && ip link set "$IF_NAME" up',
    SubnetAddCommand:
      "export SUBNET_IP=$(echo \"$SUBNET\" | cut -d'/' -f 1); export IF_NAME=flannel-vxlan; " +
      'read VTEP; ip route add "$SUBNET" nexthop via "$SUBNET_IP" dev "$IF_NAME" onlink && ' +
      'ip neigh replace "$SUBNET_IP" dev "$IF_NAME" lladdr "$VTEP" && ' +
      'bridge fdb add "$VTEP" dev "$IF_NAME" self dst "$PUBLIC_IP"',
  },
};

/** Commands that write their input to `$HOOKS`, a file of each host. */
const INPUT = "$NETWORK,$IPV6NETWORK $SUBNET,$IPV6SUBNET $PUBLIC_IP,$PUBLIC_IPV6";
const note = (word: string) => `echo "${word} ${INPUT} [$(cat)]" >> "$HOOKS"`;
const NOTING = {
  Type: "extension",
  PreStartupCommand: `${note("pre")}; echo "data of $PUBLIC_IP$PUBLIC_IPV6"; echo loud >&2`,
  PostStartupCommand: note("post"),
  SubnetAddCommand: note("add"),
  SubnetRemoveCommand: note("remove"),
};

/** A stop that waited for a command's minute of sleep would take longer, on any machine. */
const CUT_SHORT_MS = 20_000;

/** The commands that ran on a host. */
class Notes {
  readonly host: Host;
  readonly path: string;

  constructor(host: Host) {
    this.host = host;
    this.path = join(host.directory, "hooks");
  }

  get options(): StartOptions {
    return { env: { HOOKS: this.path } };
  }

  lines(): string[] {
    return existsSync(this.path) ? readFileSync(this.path, "utf8").trim().split("\n") : [];
  }

  /** The first word of each line. */
  words(): string[] {
    return this.lines().map((line) => line.split(" ")[0] as string);
  }

  clear(): void {
    rmSync(this.path, { force: true });
  }

  /** The files in which the daemon remembers the peers. */
  records(): string[] {
    const directory = join(this.host.directory, "extension");
    return readdirSync(directory).flatMap((network) =>
      readdirSync(join(directory, network, "peers")).map((name) =>
        join(directory, network, "peers", name)
      )
    );
  }
}

async function startNoting(cluster: Cluster): Promise<Notes[]> {
  const notes = cluster.hosts.map((host) => new Notes(host));
  for (const { host, options } of notes) host.start(options);
  await Promise.all(cluster.hosts.map((host) => host.ready()));
  await eventually(
    "all peers are added",
    30_000,
    () =>
      notes.every((note) =>
        note.words().filter((word) => word === "add").length === cluster.hosts.length - 1
      ),
  );
  return notes;
}

/**
 * Waits until every host has added every other to the manual's vxlan device. That device learns:
 * after a packet, `bridge fdb add` would always fail, because the entry exists already.
 */
async function peersAdded(cluster: Cluster): Promise<void> {
  const leases = await cluster.leases();
  await eventually("all peers are added", 30_000, async () => {
    for (const host of cluster.hosts) {
      const text = await host.kernel();
      for (const { publicIp, value: { BackendData: mac } } of leases) {
        if (publicIp === host.address(4)) continue;
        if (!text.includes(`fdb ${mac} dev flannel-vxlan dst ${publicIp} self permanent`)) {
          return false;
        }
      }
    }
    return true;
  });
}

/** A daemon that reads another boot id, as after a reboot. */
function afterReboot(host: Host): StartOptions {
  const [bootId, binary] = [join(host.directory, "boot_id"), join(host.directory, "rebooted")];
  writeFileSync(bootId, `${crypto.randomUUID()}\n`);
  const script = `#!/bin/sh
mount --bind ${bootId} /proc/sys/kernel/random/boot_id && exec ${FLANNELD} "$@"
`;
  writeFileSync(binary, script, { mode: 0o755 });
  return { binary };
}

describe("the examples of flannel's manual", () => {
  test("host-gw: a mesh, a restart without loss, nodes that leave", async () => {
    await using cluster = await Cluster.create({ hosts: 3 });
    await cluster.configure(MANUAL_HOST_GW);
    await cluster.startAll();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
    const before = await one.kernel();
    expect(before.match(/^route 10\.0\./gm)).toHaveLength(2);
    const ping = one.ping(two);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await one.daemon.stop(signal);
      const daemon = await one.up();
      expect(await one.kernel()).toBe(before);
      // `ip route add` of an existing route would fail.
      expect(daemon.logLines(/SubnetAddCommand/)).toEqual([]);
    }
    expect((await ping.stop()).lost).toEqual([]);

    await one.daemon.stop();
    const { key } = await cluster.leaseOf(three);
    await three.daemon.stop("SIGKILL");
    await cluster.etcd.delete(`${PREFIX}/subnets/${key}`);
    const gone = `route ${key.replace("-", "/")} `;
    const isGone = async (host: Host) => !(await host.kernel()).includes(gone);
    await eventually("a running daemon removes its route", 30_000, () => isGone(two));
    expect(await isGone(one)).toBe(false);
    await one.up();
    await eventually("one that was down does it later", 30_000, () => isGone(one));
    await cluster.expectMesh({ hosts: [one, two] });
  }, 120_000);

  test("vxlan: a mesh, a restart without loss", async () => {
    await using cluster = await Cluster.create({ hosts: 3 });
    await cluster.configure(MANUAL_VXLAN);
    await cluster.startAll();
    await peersAdded(cluster);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const before = await one.kernel();
    expect(before.match(/^(route|neigh|fdb) /gm)).toHaveLength(6);
    expect(before).toMatch(/^link flannel-vxlan: .* type vxlan id 1 .* dstport 8472/m);
    const { value } = await cluster.leaseOf(one);
    expect(value.BackendData as unknown).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    const pings = [one.ping(two), two.ping(one)];
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await one.daemon.stop(signal);
      const daemon = await one.up();
      expect(await one.kernel()).toBe(before);
      expect(daemon.logLines(/(PreStartup|PostStartup|SubnetAdd)Command/)).toEqual([]);
    }
    expect((await cluster.leaseOf(one)).value).toEqual(value);
    for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
  }, 120_000);

  test("vxlan with a ShutdownCommand: removed at the end, and set up again", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure({
      ...MANUAL_VXLAN,
      Backend: {
        ...MANUAL_VXLAN.Backend,
        // The first one that returns still has the other's old MAC address for a moment.
        SubnetRemoveCommand: 'ip route del "$SUBNET" dev flannel-vxlan',
        ShutdownCommand: "ip link del flannel-vxlan",
      },
    });
    await cluster.startAll();
    await peersAdded(cluster);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const all = [cluster.host(1), cluster.host(2)];
    for (const host of all) {
      expect((await host.daemon.stop()).code).toBe(0);
      expect(await host.kernel()).not.toContain("flannel-vxlan");
    }
    await cluster.startAll();
    await peersAdded(cluster);
    await cluster.expectMesh();
  }, 120_000);
});

describe("the examples of docs/backends/extension.md", () => {
  const page = readFileSync(join(import.meta.dir, "../../docs/backends/extension.md"), "utf8");
  const examples = [...page.matchAll(/^```json\n([^]*?)^```$/gm)].map((match) =>
    match[1] as string
  );

  test("there are two", () => expect(examples).toHaveLength(2));

  test.each([0, 1])("example %d: a mesh, also with a host that was rebooted", async (index) => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure(examples[index] as string);
    await cluster.startAll();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const before = await one.kernel();
    const { BackendData: data } = (await cluster.leaseOf(two)).value;
    await two.daemon.stop();
    await two.sh(
      "ip link del ext0 2>/dev/null || true\nip route flush root 10.5.0.0/16 proto boot",
    );
    await two.up(afterReboot(two));
    await cluster.expectMesh();
    // The other host's device has another MAC address, and no entry of the old one stays.
    const { BackendData: newData } = (await cluster.leaseOf(two)).value;
    const text = (await one.kernel()).replaceAll(String(newData), String(data));
    expect(text).toBe(before);
    expect(newData === data).toBe(index === 0);
    expect(one.daemon.logLines(/Command.*ended with/)).toEqual([]);
  }, 120_000);
});

describe("commands", () => {
  test("get the input that the manual describes, in both families", async () => {
    await using cluster = await Cluster.create({ hosts: 2, families: [4, 6] });
    rememberSubnets(cluster, { ipv4: true, ipv6: true });
    await cluster.configure({ ...DUAL, Backend: { ...NOTING, ShutdownCommand: note("shutdown") } });
    const [one, two] = await startNoting(cluster) as [Notes, Notes];
    const self = (n: number) => {
      const host = cluster.host(n);
      return `${host.address(4)},${host.address(6)}`;
    };
    const data = `data of ${two.host.address(4)}${two.host.address(6)}`;
    const networks = `${IPV4.Network},${DUAL.IPv6Network}`;
    expect((await two.host.daemon.stop()).code).toBe(0);
    await cluster.etcd.delete(`${PREFIX}/subnets/${(await cluster.leaseOf(two.host)).key}`);
    await eventually("it was removed", 30_000, () => one.words().includes("remove"));
    await one.host.daemon.stop();
    expect(one.lines()).toEqual([
      `pre ${networks} , ${self(1)} []`,
      `post ${networks} 10.5.1.0/24,fd00:5:0:1::/64 ${self(1)} []`,
      `add ${networks} 10.5.2.0/24,fd00:5:0:2::/64 ${self(2)} [${data}]`,
      `remove ${networks} 10.5.2.0/24,fd00:5:0:2::/64 ${self(2)} [${data}]`,
      `shutdown ${networks} 10.5.1.0/24,fd00:5:0:1::/64 ${self(1)} []`,
    ]);
    expect(one.host.daemon.logLines(/PreStartupCommand: loud$/)).toHaveLength(1);
  }, 120_000);

  test("do not run again at a restart, and all of them do after a reboot", async () => {
    await using cluster = await Cluster.create({ hosts: 3 });
    await cluster.configure({ ...IPV4, Backend: NOTING });
    const [one] = await startNoting(cluster) as [Notes];
    expect(one.words()).toEqual(["pre", "post", "add", "add"]);
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await one.host.daemon.stop(signal);
      await one.host.up(one.options);
    }
    await throughout("nothing more is run", 500, () => one.lines().length === 4);
    await one.host.daemon.stop();
    one.clear();
    await one.host.up({ ...one.options, ...afterReboot(one.host) });
    await eventually("everything runs", 30_000, () => one.lines().length === 4);
    expect(one.words()).toEqual(["pre", "post", "add", "add"]);
  }, 120_000);

  test("run again when the configuration has changed them", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure({ ...IPV4, Backend: NOTING });
    const [one] = await startNoting(cluster) as [Notes];
    await one.host.daemon.stop();
    one.clear();
    await cluster.configure({ ...IPV4, Backend: { ...NOTING, SubnetAddCommand: note("ADD") } });
    await one.host.up(one.options);
    await eventually(
      "the peer is added by the new command",
      30_000,
      () => one.lines().length === 2,
    );
    expect(one.words()).toEqual(["remove", "ADD"]);
    await one.host.daemon.stop();
    one.clear();
    await cluster.configure({ ...IPV4, Backend: { ...NOTING, PostStartupCommand: note("POST") } });
    await one.host.up(one.options);
    await eventually("the host is set up again", 30_000, () => one.lines().length === 4);
    expect(one.words()).toEqual(["pre", "POST", "remove", "add"]);
  }, 120_000);

  test(
    "for a changed peer: first the old values are removed, then the new ones added",
    async () => {
      await using cluster = await Cluster.create({ hosts: 2 });
      await cluster.configure({ ...IPV4, Backend: NOTING });
      const [one, two] = await startNoting(cluster) as [Notes, Notes];
      const { key, value } = await cluster.leaseOf(two.host);
      await two.host.daemon.stop();
      await one.host.daemon.stop();
      one.clear();
      const change = async (data: string) =>
        await cluster.etcd.put(
          `${PREFIX}/subnets/${key}`,
          JSON.stringify({ ...value, BackendData: data }),
        );
      await change("new while it was down");
      await one.host.up(one.options);
      await eventually("it is added", 30_000, () => one.lines().length === 2);
      await change("new while it was up");
      await eventually("it is added again", 30_000, () => one.lines().length === 4);
      expect(one.lines().map((line) => line.replace(/ .*\[/, " ["))).toEqual([
        `remove [data of ${two.host.address(4)}]`,
        "add [new while it was down]",
        "remove [new while it was down]",
        "add [new while it was up]",
      ]);
    },
    120_000,
  );
});

describe("what other nodes write", () => {
  test("reaches no shell: their data arrive on standard input only", async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    rememberSubnets(cluster, { ipv4: true, ipv6: false }); // no subnet used below
    await cluster.configure({ ...IPV4, Backend: NOTING });
    const [one] = await startNoting(cluster) as [Notes];
    const evil = `\`touch ${one.host.directory}/pwned\`$(touch ${one.host.directory}/pwned); ` +
      `touch ${one.host.directory}/pwned #' " \\ \u0000 \u001b[2J ü`;
    const lease = (data: unknown, publicIp = "192.0.2.77") =>
      JSON.stringify({ PublicIP: publicIp, BackendType: "extension", BackendData: data });
    const put = (subnet: string, value: string) =>
      cluster.etcd.put(`${PREFIX}/subnets/${subnet}`, value);
    await put("10.5.90.0-24", lease(evil));
    await put("10.5.91.0-24", lease({ MAC: "02:00:00:00:00:01" }));
    await put("10.5.92.0-24", lease("x".repeat(70_000)));
    await put("10.5.93.0-24", lease("x", "192.0.2.1; touch /tmp/pwned"));
    await put("10.5.94.0-24;id", lease("x"));
    await put("10.6.95.0-24", lease("x"));
    await put("10.5.96.0-24", lease("two\nlines"));
    // Sorted, because they run in parallel.
    const adds = () => one.lines().filter((line) => line.startsWith("add")).sort();
    await eventually("the valid ones are added", 30_000, () => adds().length === 2);
    await eventually(
      "the others are ignored",
      30_000,
      () => one.host.daemon.logLines(/ignoring/).length >= 5,
    );
    expect(existsSync(`${one.host.directory}/pwned`)).toBe(false);
    expect(adds().map((line) => line.split(" ")[2])).toEqual(["10.5.90.0/24,", "10.5.96.0/24,"]);
    expect(adds()[0]).toContain("$(touch ");
    expect(one.lines()).toContain("lines]");
    const ignored = one.host.daemon.logLines(/ignoring lease 10\.5\.9[12]/).join("\n");
    expect(ignored).toContain("its BackendData is not a string");
    expect(ignored).toContain("its BackendData has 70000 bytes, more than 65536");
  }, 120_000);
});

describe("a command that", () => {
  test("fails is tried again, the node is not ready until it succeeds", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const SubnetAddCommand =
      `echo trying; test -e "$HOOKS.allowed" || { echo "not yet" >&2; exit 3; }`;
    await cluster.configure({ ...IPV4, Backend: { Type: "extension", SubnetAddCommand } });
    const notes = new Notes(one);
    await one.up(notes.options);
    expect((await one.http("/readyz")).status).toBe(200);
    two.start({ env: { HOOKS: join(two.directory, "hooks") } });
    const failing = await eventually("it is not ready", 30_000, async () => {
      const response = await one.http("/readyz");
      return response.status === 503 && response;
    });
    expect(failing.body).toMatch(
      /SubnetAddCommand for 10\.5\.\d+\.0\/24 ended with status 3: not yet; retrying/,
    );
    writeFileSync(`${notes.path}.allowed`, "");
    await eventually("it is ready", 30_000, async () => (await one.http("/readyz")).status === 200);
    expect(one.daemon.logLines(/SubnetAddCommand for .*: trying/).length).toBeGreaterThan(1);
  }, 120_000);

  test("hangs is killed with all its processes, and /readyz shows its last line", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const mark = `3${Math.floor(Math.random() * 1e6)}.25`;
    await cluster.configure({
      ...IPV4,
      Backend: {
        Type: "extension",
        SubnetAddCommand: 'echo about to hang; sleep "$NAP" | sleep "$NAP"',
        CommandTimeoutSeconds: 1,
      },
    });
    await one.up({ env: { NAP: mark } });
    two.start({ env: { NAP: "0" } });
    const sleeps = async () => Number(await one.sh(`pgrep -f -c '^sleep ${mark}$' || true`));
    await eventually("it hangs", 30_000, async () => await sleeps() > 0);
    await eventually(
      "it is reported",
      30_000,
      async () =>
        (await one.http("/readyz")).body.includes(
          "did not exit within 1 s and was killed: about to",
        ),
    );
    const { code, milliseconds } = await one.daemon.stop();
    expect(code).toBe(0);
    expect(milliseconds).toBeLessThan(CUT_SHORT_MS);
    expect(await sleeps()).toBe(0);
  }, 120_000);

  test("is running when the daemon is killed is ended, undone and run again", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const nap = `61.${Math.floor(Math.random() * 1e6)}`;
    // It checks the file and starts its process before it reports its start.
    const slow = `nap=${nap}; test -e "$HOOKS.quick" && nap=0; sleep $nap & ` +
      'echo begin >> "$HOOKS"; wait; echo end >> "$HOOKS"';
    await cluster.configure({
      ...IPV4,
      Backend: {
        Type: "extension",
        SubnetAddCommand: slow,
        SubnetRemoveCommand: 'echo remove >> "$HOOKS"',
      },
    });
    const [notes, others] = [new Notes(one), new Notes(two)];
    await one.up(notes.options);
    writeFileSync(`${others.path}.quick`, "");
    two.start(others.options);
    await eventually("it has started", 30_000, () => notes.lines().length === 1);
    await one.daemon.stop("SIGKILL");
    writeFileSync(`${notes.path}.quick`, "");
    const daemon = await one.up(notes.options);
    await eventually("it is done", 30_000, () => notes.lines().includes("end"));
    expect(daemon.logLines(/killed 2 processes of commands/)).toHaveLength(1);
    expect(await one.sh(`pgrep -f -c '^sleep ${nap}$' || true`)).toBe("0\n");
    expect(notes.lines()).toEqual(["begin", "remove", "begin", "end"]);
  }, 120_000);

  test("is running at a stop gets a grace period; ShutdownCommand runs after it", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    await cluster.configure({
      ...IPV4,
      Backend: {
        Type: "extension",
        // Far less than the grace period of a second.
        SubnetAddCommand: 'echo begin >> "$HOOKS"; sleep 0.2; echo end >> "$HOOKS"',
        ShutdownCommand: 'echo shutdown >> "$HOOKS"; sleep 60',
      },
    });
    const notes = new Notes(one);
    await one.up(notes.options);
    two.start({ env: { HOOKS: join(two.directory, "hooks") } });
    await eventually("it has started", 30_000, () => notes.lines().length === 1);
    const { code, milliseconds } = await one.daemon.stop();
    expect(code).toBe(0);
    expect(milliseconds).toBeLessThan(CUT_SHORT_MS);
    expect(notes.lines()).toEqual(["begin", "end", "shutdown"]);
    expect(one.daemon.logLines(/ShutdownCommand failed: it did not exit within 2 s/))
      .toHaveLength(1);
  }, 120_000);

  test(
    "is running for the first peers at a stop is ended, and the node does not become ready",
    async () => {
      await using cluster = await Cluster.create({ hosts: 1 });
      const one = cluster.host(1);
      await cluster.configure({
        ...IPV4,
        Backend: {
          Type: "extension",
          SubnetAddCommand: 'echo begin >> "$HOOKS"; sleep 61.25',
          ShutdownCommand: 'echo shutdown >> "$HOOKS"',
        },
      });
      await cluster.etcd.put(
        `${PREFIX}/subnets/10.5.9.0-24`,
        JSON.stringify({ PublicIP: "192.0.2.9", PublicIPv6: null, BackendType: "extension" }),
      );
      const notes = new Notes(one);
      const daemon = one.start(notes.options);
      await eventually("it has started", 30_000, () => notes.lines().length === 1);
      const { code, milliseconds } = await daemon.stop();
      expect(code).toBe(0);
      expect(milliseconds).toBeLessThan(CUT_SHORT_MS);
      expect(notes.lines()).toEqual(["begin", "shutdown"]);
      expect(await one.sh("pgrep -f -c '^sleep 61.25$' || true")).toBe("0\n");
      expect(daemon.logLines(/ready;|not all parts ended/)).toEqual([]);
    },
    120_000,
  );

  test("runs before the lease does not prevent the daemon from ending", async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    const one = cluster.host(1);
    await cluster.configure({
      ...IPV4,
      Backend: {
        Type: "extension",
        PreStartupCommand: 'echo begin >> "$HOOKS"; test -e "$HOOKS.quick" || sleep 61.75',
      },
    });
    const notes = new Notes(one);
    const daemon = one.start(notes.options);
    await eventually("it has started", 30_000, () => notes.lines().length === 1);
    expect((await daemon.stop()).code).toBe(0);
    expect(await one.sh("pgrep -f -c '^sleep 61.75$' || true")).toBe("0\n");
    // A command that was interrupted runs again.
    writeFileSync(`${notes.path}.quick`, "");
    await one.up(notes.options);
    expect(notes.words()).toEqual(["begin", "begin"]);
  }, 120_000);

  test("fails before the lease ends the daemon with one clear line", async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    const one = cluster.host(1);
    for (
      const [name, leases] of [["PreStartupCommand", 0], ["PostStartupCommand", 1]] as const
    ) {
      await cluster.configure({
        ...IPV4,
        Backend: { Type: "extension", [name]: "echo no such device >&2; exit 4" },
      });
      const daemon = one.start();
      expect(await daemon.exitCode()).toBe(1);
      expect(daemon.logLines(/^E/).map((line) => line.slice(line.indexOf("]") + 2))).toEqual([
        `${name} ended with status 4: no such device; correct it in the network configuration`,
      ]);
      expect(await cluster.leases()).toHaveLength(leases);
    }
  }, 120_000);
});

test("a broken record is reported and ignored; the others hold", async () => {
  await using cluster = await Cluster.create({ hosts: 3 });
  await cluster.configure({ ...IPV4, Backend: NOTING });
  const [one] = await startNoting(cluster) as [Notes];
  await one.host.daemon.stop();
  one.clear();
  const [broken] = one.records();
  writeFileSync(broken as string, '{"boot":');
  const daemon = await one.host.up(one.options);
  await eventually("its peer is added", 30_000, () => one.lines().length === 1);
  expect(one.words()).toEqual(["add"]);
  expect(daemon.logLines(/ignoring .*peers\/.*JSON/)).toHaveLength(1);
}, 120_000);
