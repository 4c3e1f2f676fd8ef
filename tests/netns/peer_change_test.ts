/** Other nodes change, move or send nonsense: this node follows, and lets nothing through. */

import { describe, expect, test } from "bun:test";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };

/** The value of a vxlan lease. */
function leaseValue(publicIp: unknown, mac: unknown, more: object = {}): string {
  return JSON.stringify({
    PublicIP: publicIp,
    PublicIPv6: null,
    BackendType: "vxlan",
    BackendData: { VNI: 1, VtepMAC: mac },
    ...more,
  });
}

function put(cluster: Cluster, key: string, value: string): Promise<void> {
  return cluster.etcd.put(`${PREFIX}/subnets/${key}`, value);
}

async function expectKernel(host: Host, lines: readonly string[], absent: readonly string[]) {
  await eventually(`${lines.join("; ")} without ${absent.join("; ")}`, 30_000, async () => {
    const text = await host.kernel();
    const missing = lines.filter((line) => !text.includes(line));
    const stale = absent.filter((line) => text.includes(line));
    if (missing.length + stale.length > 0) throw new Error(`the kernel holds\n${text}`);
    return true;
  });
}

async function oneHost(config: object = VXLAN): Promise<{ cluster: Cluster; host: Host }> {
  const cluster = await Cluster.create({ hosts: 1, families: [4, 6] });
  rememberSubnets(cluster, { ipv4: true, ipv6: "EnableIPv6" in config });
  await cluster.configure(config);
  await cluster.startAll();
  return { cluster, host: cluster.host(1) };
}

test("the entries of a peer's previous MAC and public address are removed", async () => {
  const { cluster, host } = await oneHost();
  await using _ = cluster;
  await put(cluster, "10.5.9.0-24", leaseValue("192.0.2.9", "02:00:00:00:00:09"));
  await expectKernel(host, [
    "neigh 10.5.9.0 lladdr 02:00:00:00:00:09 dev flannel.1 nud permanent",
    "fdb 02:00:00:00:00:09 dev flannel.1 dst 192.0.2.9 self permanent",
    "route 10.5.9.0/24 via 10.5.9.0 dev flannel.1",
  ], []);
  await put(cluster, "10.5.9.0-24", leaseValue("192.0.2.9", "02:00:00:00:00:0a"));
  await expectKernel(host, [
    "neigh 10.5.9.0 lladdr 02:00:00:00:00:0a dev flannel.1 nud permanent",
    "fdb 02:00:00:00:00:0a dev flannel.1 dst 192.0.2.9 self permanent",
  ], ["02:00:00:00:00:09"]);
  await put(cluster, "10.5.9.0-24", leaseValue("192.0.2.10", "02:00:00:00:00:0a"));
  await expectKernel(host, [
    "fdb 02:00:00:00:00:0a dev flannel.1 dst 192.0.2.10 self permanent",
  ], ["192.0.2.9"]);
  await cluster.etcd.delete(`${PREFIX}/subnets/10.5.9.0-24`);
  await expectKernel(host, [], ["10.5.9.0", "02:00:00:00:00:0a"]);
}, 120_000);

test("a dual-stack peer that changes one family's part keeps the other's entries", async () => {
  const { cluster, host } = await oneHost({ ...DUAL, Backend: { Type: "vxlan" } });
  await using _ = cluster;
  const key = "10.5.9.0-24&fd00:5:0:9::-64";
  const value = (mac4: string, mac6: string) =>
    leaseValue("192.0.2.9", mac4, {
      PublicIPv6: "2001:db8::9",
      BackendV6Data: { VNI: 1, VtepMAC: mac6 },
    });
  await put(cluster, key, value("02:00:00:00:00:09", "02:00:00:00:06:09"));
  const ipv6 = [
    "fdb 02:00:00:00:06:09 dev flannel-v6.1 dst 2001:db8::9 self permanent",
    "neigh fd00:5:0:9:: lladdr 02:00:00:00:06:09 dev flannel-v6.1 nud permanent",
    "route fd00:5:0:9::/64 via fd00:5:0:9:: dev flannel-v6.1",
  ];
  await expectKernel(host, ipv6, []);
  await put(cluster, key, value("02:00:00:00:00:0a", "02:00:00:00:06:09"));
  await expectKernel(host, [...ipv6, "fdb 02:00:00:00:00:0a dev flannel.1"], ["02:00:00:00:00:09"]);
  await put(cluster, key, value("02:00:00:00:00:0a", "02:00:00:00:06:0a"));
  await expectKernel(host, ["fdb 02:00:00:00:06:0a dev flannel-v6.1"], ["02:00:00:00:06:09"]);
}, 120_000);

test(
  "a peer's new MAC is applied although the watch missed it by a compaction",
  async () => {
    const { cluster, host } = await oneHost();
    await using _ = cluster;
    await put(cluster, "10.5.9.0-24", leaseValue("192.0.2.9", "02:00:00:00:00:09"));
    await put(cluster, "10.5.8.0-24", leaseValue("192.0.2.8", "02:00:00:00:00:08"));
    await expectKernel(host, ["fdb 02:00:00:00:00:09", "fdb 02:00:00:00:00:08"], []);
    // Stopped, it cannot read what comes; the server that held its watch is gone by the compaction.
    process.kill(host.daemon.pid, "SIGSTOP");
    await cluster.etcd.kill();
    cluster.etcd.restart();
    await cluster.etcd.ready(30_000);
    await put(cluster, "10.5.9.0-24", leaseValue("192.0.2.99", "02:00:00:00:00:99"));
    await cluster.etcd.delete(`${PREFIX}/subnets/10.5.8.0-24`);
    await put(cluster, "10.5.7.0-24", leaseValue("192.0.2.7", "02:00:00:00:00:07"));
    const revision = Math.max(...(await cluster.etcd.list(PREFIX)).map((key) => +key.modRevision));
    await cluster.etcd.call("kv/compaction", { revision: String(revision), physical: true });
    process.kill(host.daemon.pid, "SIGCONT");
    await eventually("the changes are in the kernel", 30_000, async () => {
      const text = await host.kernel();
      return text.includes("fdb 02:00:00:00:00:99 dev flannel.1 dst 192.0.2.99") &&
        text.includes("route 10.5.7.0/24") && !text.includes("02:00:00:00:00:09") &&
        !text.includes("02:00:00:00:00:08") && !text.includes("10.5.8.0");
    });
  },
  120_000,
);

/** Hostile leases. Each is put next to a valid lease of the same backend. */
const HOSTILE: readonly (readonly [name: string, key: string, value: string])[] = [
  ["the default route", "0.0.0.0-0", leaseValue("192.0.2.50", "02:00:00:00:00:50")],
  ["outside the network", "10.99.1.0-24", leaseValue("192.0.2.51", "02:00:00:00:00:51")],
  [
    "the network's own address range",
    "192.0.2.0-24",
    leaseValue("192.0.2.52", "02:00:00:00:00:52"),
  ],
  ["too short a prefix", "10.5.32.0-20", leaseValue("192.0.2.53", "02:00:00:00:00:53")],
  ["too long a prefix", "10.5.33.0-25", leaseValue("192.0.2.54", "02:00:00:00:00:54")],
  ["host bits in the key", "10.5.34.7-24", leaseValue("192.0.2.55", "02:00:00:00:00:55")],
  ["a part of this node's subnet", "10.5.1.128-25", leaseValue("192.0.2.56", "02:00:00:00:00:56")],
  [
    "this node's subnet and another",
    "10.5.1.0-24&fd00:5:0:1::-64",
    leaseValue("192.0.2.57", "02:00:00:00:00:57"),
  ],
  ["a broadcast MAC", "10.5.36.0-24", leaseValue("192.0.2.58", "ff:ff:ff:ff:ff:ff")],
  ["a multicast MAC", "10.5.37.0-24", leaseValue("192.0.2.59", "01:00:5e:00:00:01")],
  ["a zero MAC", "10.5.38.0-24", leaseValue("192.0.2.60", "00:00:00:00:00:00")],
  ["no MAC", "10.5.39.0-24", leaseValue("192.0.2.61", undefined)],
  ["a MAC that is a number", "10.5.40.0-24", leaseValue("192.0.2.62", 7)],
  ["a loopback public address", "10.5.41.0-24", leaseValue("127.0.0.1", "02:00:00:00:00:63")],
  ["an unspecified public address", "10.5.42.0-24", leaseValue("0.0.0.0", "02:00:00:00:00:64")],
  ["a multicast public address", "10.5.43.0-24", leaseValue("224.0.0.9", "02:00:00:00:00:65")],
  ["the hosts' broadcast address", "10.5.52.0-24", leaseValue("192.0.2.255", "02:00:00:00:00:73")],
  ["the hosts' network address", "10.5.53.0-24", leaseValue("192.0.2.0", "02:00:00:00:00:74")],
  ["an address of the overlay", "10.5.54.0-24", leaseValue("10.5.240.7", "02:00:00:00:00:75")],
  ["a public address that is a number", "10.5.44.0-24", leaseValue(7, "02:00:00:00:00:66")],
  ["JSON cut short", "10.5.45.0-24", '{"PublicIP":"192.0.2.67"'],
  ["a JSON array", "10.5.46.0-24", "[]"],
  ["an empty value", "10.5.47.0-24", ""],
  ["another backend", "10.5.48.0-24", leaseValue("192.0.2.68", "x", { BackendType: "host-gw" })],
  [
    "data nested deeper than the stack allows",
    "10.5.49.0-24",
    leaseValue("192.0.2.70", "02:00:00:00:00:70").replace(
      '"VNI":1',
      `"VNI":${"[".repeat(60_000)}${"]".repeat(60_000)}`,
    ),
  ],
  [
    "a backend of a megabyte",
    "10.5.50.0-24",
    leaseValue("192.0.2.71", "x", { BackendType: "x".repeat(1_400_000) }),
  ],
  [
    "data encoded twice",
    "10.5.51.0-24",
    leaseValue("192.0.2.72", "x", { BackendData: '{"VNI":1,"VtepMAC":"02:00:00:00:00:72"}' }),
  ],
  ["a key that is no subnet", "hello", leaseValue("192.0.2.69", "02:00:00:00:00:69")],
];

describe("hostile leases", () => {
  test(
    "change nothing and are logged once with the reason, live and at a start",
    async () => {
      const { cluster, host } = await oneHost();
      await using _ = cluster;
      const before = await host.kernel();
      for (const [, key, value] of HOSTILE) await put(cluster, key, value);
      await put(cluster, "10.5.240.0-24", leaseValue("192.0.2.240", "02:00:00:00:02:40"));
      const expectUnharmed = async () => {
        await eventually(
          "the healthy lease is there",
          30_000,
          async () => (await host.kernel()).includes("route 10.5.240.0/24"),
        );
        const others = (await host.kernel()).split("\n").filter((line) =>
          !line.includes("10.5.240.0") && !line.includes("02:00:00:00:02:40")
        );
        expect(others.join("\n")).toBe(before);
        const linesOf = (key: string) =>
          host.daemon.logLines(new RegExp(`lease ${key.replaceAll(".", "\\.")}[: ]`));
        await eventually(
          "each is named",
          30_000,
          () => HOSTILE.every(([, key]) => linesOf(key).length > 0),
        );
        for (const [name, key] of HOSTILE) {
          const lines = linesOf(key);
          expect({ name, key, lines: lines.length, text: lines }).toMatchObject({ lines: 1 });
          expect(lines[0]).toMatch(/: .{8,}$/);
        }
      };
      await expectUnharmed();
      // An unrelated change and a repeated value log nothing new.
      for (const [, key, value] of HOSTILE) {
        await put(cluster, key, value);
      }
      await put(cluster, "10.5.240.0-24", leaseValue("192.0.2.241", "02:00:00:00:02:40"));
      await expectKernel(host, ["dst 192.0.2.241"], []);
      await expectUnharmed();
      await cluster.configure(`{"Network":"10.5.0.0/16","Backend":${"[".repeat(60_000)}`);
      await eventually(
        "the configuration is refused",
        30_000,
        () =>
          host.daemon.logLines(/keeping the current configuration: .* is nested 60001 levels deep/)
            .length === 1,
      );
      await cluster.configure(VXLAN);
      expect(host.daemon.log().length).toBeLessThan(50_000);
      await host.daemon.stop();
      await host.up();
      await expectUnharmed();
    },
    120_000,
  );

  test(
    "that become valid are used, and used ones that become hostile are withdrawn",
    async () => {
      const { cluster, host } = await oneHost();
      await using _ = cluster;
      await put(cluster, "10.5.9.0-24", leaseValue("192.0.2.9", "ff:ff:ff:ff:ff:ff"));
      await put(cluster, "10.5.9.0-24", leaseValue("192.0.2.9", "02:00:00:00:00:09"));
      await expectKernel(host, ["route 10.5.9.0/24", "fdb 02:00:00:00:00:09"], []);
      await put(cluster, "10.5.9.0-24", leaseValue("127.0.0.1", "02:00:00:00:00:09"));
      await expectKernel(host, [], ["10.5.9.0", "02:00:00:00:00:09"]);
    },
    120_000,
  );

  test("of 5000 kinds of garbage change nothing", async () => {
    const { cluster, host } = await oneHost();
    await using _ = cluster;
    const before = await host.kernel();
    const garbage = Array.from({ length: 5_000 }, (_unused, index) => {
      const value = crypto.getRandomValues(new Uint8Array(40));
      return [`10.5.${Math.floor(index / 50)}.${index % 50}-24`, value] as const;
    });
    await cluster.putLeases(garbage);
    await put(cluster, "10.5.240.0-24", leaseValue("192.0.2.240", "02:00:00:00:02:40"));
    await eventually(
      "the healthy lease is there",
      30_000,
      async () => (await host.kernel()).includes("route 10.5.240.0/24"),
    );
    await cluster.etcd.delete(`${PREFIX}/subnets/10.5.240.0-24`);
    await eventually(
      "the kernel is as before",
      30_000,
      async () => (await host.kernel()) === before,
    );
  }, 120_000);
});
