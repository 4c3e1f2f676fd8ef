/** wireguard on a kernel that has it: real daemons, real packets, real damage. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Family } from "../../src/addr/ip.ts";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host, StartOptions } from "../support/host.ts";
import { DUAL, IPV4, IPV6_ONLY, rememberSubnets } from "../support/networks.ts";
import { firstOf, sample } from "../support/slow_tests.ts";
import { eventually } from "../support/wait.ts";
import { keyNames, wg, wireguardText } from "../support/wireguard_text.ts";

/**
 * Changes that the kernel announces, to devices, addresses and routes, are repaired at once, others
 * after minutes. tests/netns measures how soon; here a virtual machine shares the processor with
 * other programs.
 */
const ANNOUNCED_MS = 10_000;
/**
 * The kernel does not announce changes to keys, ports and peers. They are read every two seconds,
 * or less often where a dump takes long, as on a busy machine: after a minute at the latest.
 */
const HEAL_MS = 100_000;
/**
 * Two ends that begin at the same instant may each keep another session; they notice after
 * KEEPALIVE_TIMEOUT + REKEY_TIMEOUT without a packet, 15 s (WireGuard's paper, section 6).
 */
const AGREE_MS = 40_000;
const WIREGUARD = { Type: "wireguard" };
const PSK = "oEHRe5SRIqoumo0vgsCEsf3aNPBnu1xTsXQaUHxUpF4=";
/** Public keys without a node. */
const KEY_A = "9jalV3EEBnVXahro0pRMQ+cHlmjE33Slo9tddzCVtCw=";
const KEY_B = "XcUAPnO4Wr6+8NAsWl+POsDfTx3kGNm3fS7XyHyjzXo=";

interface Start {
  readonly hosts?: number;
  readonly families?: readonly Family[];
  readonly config?: object;
  readonly start?: StartOptions;
}

async function startCluster(
  { hosts = 2, families = [4, 6], config = { ...DUAL, Backend: WIREGUARD }, start = {} }: Start,
): Promise<Cluster> {
  const cluster = await Cluster.create({ hosts, families });
  try {
    rememberSubnets(cluster, {
      ipv4: !("EnableIPv4" in config),
      ipv6: "EnableIPv6" in config,
    });
    await cluster.configure(config);
    await cluster.startAll(start);
    await cluster.attachWorkloads();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

/** All entries of the daemon on a host. */
async function state(host: Host, names?: ReadonlyMap<string, string>): Promise<string> {
  return await host.kernel() + await wireguardText(host, names);
}

const keyFile = (host: Host) => join(host.directory, "run", "flannel", "wgkey");
const publicKey = async (host: Host, device = "flannel-wg") =>
  (await wg(host, `show ${device} public-key`)).trim();
const handshakes = (host: Host) => wg(host, "show all latest-handshakes");

/** Handshakes of two ends that both initiated: a second may follow the first response. */
async function settledHandshakes(host: Host): Promise<string> {
  for (let before = await handshakes(host);;) {
    await Bun.sleep(2_000);
    const now = await handshakes(host);
    if (now === before) return now;
    before = now;
  }
}

describe("three hosts reach each other at full MTU", () => {
  const modes: [string, Family[], object, object][] = [
    ["in dual stack, a device for each family", [4, 6], DUAL, {}],
    ["with IPv6 only, mode auto", [6], IPV6_ONLY, { Mode: "auto" }],
    ["with every option", [4, 6], DUAL, {
      Mode: "ipv4",
      PSK,
      ListenPort: 4500,
      PersistentKeepaliveInterval: 5,
      MTU: 1480,
    }],
    ["with IPv4", [4], IPV4, {}],
    ["with IPv6 only", [6], IPV6_ONLY, {}],
    ["in dual stack, one device, mode auto", [4, 6], DUAL, { Mode: "auto" }],
    ["in dual stack, one device over IPv6", [4, 6], DUAL, { Mode: "ipv6" }],
  ];
  test.each(firstOf(3, modes))("%s", async (_name, families, network, options) => {
    const config = { ...network, Backend: { ...WIREGUARD, ...options } };
    await using cluster = await startCluster({ hosts: 3, families, config });
    const mtuBytes = "MTU" in options ? 1400 : 1420;
    for (const host of cluster.hosts) expect(host.subnet().mtuBytes).toBe(mtuBytes);
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
  }, 300_000);
});

test("hosts that join one by one reach each other; no entry of one that leaves stays", async () => {
  await using cluster = await Cluster.create({ hosts: 3, families: [4, 6] });
  rememberSubnets(cluster, { ipv4: true, ipv6: true });
  await cluster.configure({ ...DUAL, Backend: WIREGUARD });
  for (const host of cluster.hosts) {
    await host.up();
    await cluster.attachWorkloads([host]);
  }
  await cluster.expectMesh({ timeoutMs: AGREE_MS });
  const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
  await three.daemon.stop();
  await cluster.etcd.delete(`${PREFIX}/subnets/${(await cluster.leaseOf(three)).key}`);
  await eventually("the others have forgotten it", ANNOUNCED_MS, async () => {
    const texts = await Promise.all([one, two].map((host) => state(host)));
    return !texts.join().includes("10.5.3.0") && !texts.join().includes("fd00:5:0:3::");
  });
  await cluster.expectMesh({ timeoutMs: AGREE_MS, hosts: [one, two] });
}, 300_000);

describe("the kernel holds", () => {
  test("a device for each family with mode separate", async () => {
    await using cluster = await startCluster({});
    expect(await state(cluster.host(1), await keyNames(cluster))).toBe(`\
addr 10.5.1.0/32 dev flannel-wg
addr fd00:5:0:1::/128 dev flannel-wg-v6
link flannel-wg-v6: mtu 1420 state up address undefined type wireguard
link flannel-wg: mtu 1420 state up address undefined type wireguard
route 10.5.0.0/16 dev flannel-wg proto 70 scope link
route fd00:5::/48 dev flannel-wg-v6 proto 70
wireguard flannel-wg key <h1> listen-port 51820
wireguard flannel-wg peer <h2> endpoint 192.0.2.2:51820 allowed-ips 10.5.2.0/24
wireguard flannel-wg-v6 key <h1> listen-port 51821
wireguard flannel-wg-v6 peer <h2> endpoint [2001:db8::2]:51821 allowed-ips fd00:5:0:2::/64
`);
    expect(await stored(cluster.host(1), cluster)).toEqual({
      PublicIP: "192.0.2.1",
      PublicIPv6: "2001:db8::1",
      BackendType: "wireguard",
      BackendData: { PublicKey: await publicKey(cluster.host(1)), Port: 51820 },
      BackendV6Data: { PublicKey: await publicKey(cluster.host(1)), Port: 51821 },
    });
  }, 300_000);

  test("one device with the other modes, and nothing of a previous mode", async () => {
    await using cluster = await startCluster({});
    const subnets = "10.5.2.0/24,fd00:5:0:2::/64";
    await cluster.configure({ ...DUAL, Backend: { ...WIREGUARD, Mode: "ipv6", PSK } });
    for (const host of cluster.hosts) await host.daemon.stop();
    await cluster.startAll();
    await eventually("the other device is gone", HEAL_MS, async () => {
      expect(await state(cluster.host(1), await keyNames(cluster))).toBe(`\
addr 10.5.1.0/32 dev flannel-wg
addr fd00:5:0:1::/128 dev flannel-wg
link flannel-wg: mtu 1420 state up address undefined type wireguard
route 10.5.0.0/16 dev flannel-wg proto 70 scope link
route fd00:5::/48 dev flannel-wg proto 70
wireguard flannel-wg key <h1> listen-port 51820
wireguard flannel-wg peer <h2> endpoint [2001:db8::2]:51820 allowed-ips ${subnets} psk ${PSK}
`);
      return true;
    });
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
  }, 300_000);
});

async function stored(host: Host, cluster: Cluster): Promise<unknown> {
  return (await cluster.leaseOf(host)).value;
}

describe("a peer", () => {
  let cluster: Cluster;
  let host: Host;
  beforeAll(async () => {
    cluster = await startCluster({ hosts: 1, config: { ...IPV4, Backend: WIREGUARD } });
    host = cluster.host(1);
  }, 300_000);
  afterAll(async () => await cluster?.[Symbol.asyncDispose]());

  const put = (data: unknown, publicIp = "192.0.2.9", key = "10.5.9.0-24") =>
    cluster.etcd.put(
      `${PREFIX}/subnets/${key}`,
      JSON.stringify({
        PublicIP: publicIp,
        PublicIPv6: null,
        BackendType: "wireguard",
        BackendData: data,
      }),
    );
  const peers = async () =>
    (await wireguardText(host)).split("\n").filter((line) => line.includes(" peer "))
      .map((line) => line.replace("wireguard flannel-wg peer ", ""));
  const expectPeers = (wanted: string[]) =>
    eventually(`the peers are ${wanted.join("; ")}`, ANNOUNCED_MS, async () => {
      expect(await peers()).toEqual(wanted);
      return true;
    });

  test(
    "joins, changes its key, port and address, and leaves; no old entry stays",
    async () => {
      await put({ PublicKey: KEY_A, Port: 51820 });
      await expectPeers([`${KEY_A} endpoint 192.0.2.9:51820 allowed-ips 10.5.9.0/24`]);
      await put({ PublicKey: KEY_B, Port: 51820 });
      await expectPeers([`${KEY_B} endpoint 192.0.2.9:51820 allowed-ips 10.5.9.0/24`]);
      await put({ PublicKey: KEY_B, Port: 7 });
      await expectPeers([`${KEY_B} endpoint 192.0.2.9:7 allowed-ips 10.5.9.0/24`]);
      await put({ PublicKey: KEY_B, Port: 7 }, "192.0.2.10");
      await expectPeers([`${KEY_B} endpoint 192.0.2.10:7 allowed-ips 10.5.9.0/24`]);
      await put({ PublicKey: KEY_B });
      await expectPeers([`${KEY_B} endpoint 192.0.2.9:51820 allowed-ips 10.5.9.0/24`]);
      await cluster.etcd.delete(`${PREFIX}/subnets/10.5.9.0-24`);
      await expectPeers([]);
    },
    300_000,
  );

  test(
    "that moved to another subnet has the new one only, and the old one becomes free",
    async () => {
      await put({ PublicKey: KEY_A, Port: 1 }, "192.0.2.7", "10.5.7.0-24");
      await expectPeers([`${KEY_A} endpoint 192.0.2.7:1 allowed-ips 10.5.7.0/24`]);
      await put({ PublicKey: KEY_A, Port: 1 }, "192.0.2.7", "10.5.8.0-24"); // the old lease exists
      await expectPeers([`${KEY_A} endpoint 192.0.2.7:1 allowed-ips 10.5.8.0/24`]);
      await put({ PublicKey: KEY_B, Port: 1 }, "192.0.2.6", "10.5.7.0-24"); // now of another node
      await expectPeers([
        `${KEY_A} endpoint 192.0.2.7:1 allowed-ips 10.5.8.0/24`,
        `${KEY_B} endpoint 192.0.2.6:1 allowed-ips 10.5.7.0/24`,
      ].sort());
      await cluster.etcd.delete(`${PREFIX}/subnets/10.5.7.0-24`);
      await cluster.etcd.delete(`${PREFIX}/subnets/10.5.8.0-24`);
      await expectPeers([]);
    },
    300_000,
  );

  test("with the key of another node waits until that node leaves", async () => {
    await put({ PublicKey: KEY_A, Port: 1 }, "192.0.2.7", "10.5.7.0-24");
    await put({ PublicKey: KEY_A, Port: 1 }, "192.0.2.8", "10.5.8.0-24");
    const warnings = () => host.daemon.logLines(/ignoring lease 10\.5\.8\.0-24: its PublicKey /);
    await eventually("it is ignored", ANNOUNCED_MS, () => warnings().length === 1);
    await expectPeers([`${KEY_A} endpoint 192.0.2.7:1 allowed-ips 10.5.7.0/24`]);
    await cluster.etcd.delete(`${PREFIX}/subnets/10.5.7.0-24`);
    await expectPeers([`${KEY_A} endpoint 192.0.2.8:1 allowed-ips 10.5.8.0/24`]);
    await cluster.etcd.delete(`${PREFIX}/subnets/10.5.8.0-24`);
    await expectPeers([]);
  }, 300_000);

  test("with invalid data is ignored with the reason, and the others are not", async () => {
    await put({ PublicKey: "short", Port: 1 });
    await put({ PublicKey: KEY_B, Port: 65536 }, "192.0.2.8", "10.5.8.0-24");
    await put({ PublicKey: await publicKey(host), Port: 1 }, "192.0.2.7", "10.5.7.0-24");
    await put({ PublicKey: KEY_A, Port: 1 }, "192.0.2.6", "10.5.6.0-24");
    await expectPeers([`${KEY_A} endpoint 192.0.2.6:1 allowed-ips 10.5.6.0/24`]);
    await eventually("the log says why", ANNOUNCED_MS, () => {
      const log = host.daemon.log();
      expect(log).toContain(
        'ignoring lease 10.5.9.0-24: its BackendData has an invalid PublicKey "short"',
      );
      expect(log).toContain(
        "ignoring lease 10.5.8.0-24: its BackendData has an invalid Port 65536",
      );
      expect(log).toContain(
        "ignoring lease 10.5.7.0-24: its BackendData has this node's own PublicKey ",
      );
      return true;
    });
  }, 300_000);

  test(
    "of a previous run is removed, and the others are not touched",
    async () => {
      await host.daemon.stop("SIGKILL");
      await host.sh(`wg set flannel-wg peer ${KEY_B} allowed-ips 10.5.200.0/24`);
      await host.up();
      await expectPeers([`${KEY_A} endpoint 192.0.2.6:1 allowed-ips 10.5.6.0/24`]);
    },
    300_000,
  );
});

describe("another program changes the daemon's entries:", () => {
  let cluster: Cluster;
  let before: string;
  let other: string;
  beforeAll(async () => {
    cluster = await startCluster({ config: { ...DUAL, Backend: { ...WIREGUARD, PSK } } });
    // A peer without a session: its endpoint is not a learned one.
    await cluster.etcd.put(
      `${PREFIX}/subnets/10.5.9.0-24`,
      JSON.stringify({
        PublicIP: "192.0.2.9",
        PublicIPv6: null,
        BackendType: "wireguard",
        BackendData: { PublicKey: KEY_A, Port: 51820 },
      }),
    );
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    other = await publicKey(cluster.host(2));
    before = await eventually("all is there", HEAL_MS, async () => {
      const text = await state(cluster.host(1));
      return text.includes(KEY_A) && text;
    });
  }, 300_000);
  afterAll(async () => await cluster?.[Symbol.asyncDispose]());
  // Repairs of an entry that keeps changing are delayed: each test starts a new daemon.
  beforeEach(async () => {
    await cluster.host(1).daemon.stop("SIGKILL");
    await cluster.host(1).up();
  }, 300_000);

  describe("what the kernel does not announce:", () => {
    test.each(sample(
      3,
      [
        ["a removed peer", "wg set flannel-wg peer $OTHER remove"],
        ["a removed peer of the IPv6 device", "wg set flannel-wg-v6 peer $OTHER remove"],
        ["a peer without its subnet", "wg set flannel-wg peer $OTHER allowed-ips ''"],
        [
          "a peer with another node's subnet",
          `wg set flannel-wg peer ${KEY_A} allowed-ips 10.5.2.0/24`,
        ],
        [
          "another pre-shared key",
          "wg genpsk | wg set flannel-wg peer $OTHER preshared-key /dev/stdin",
        ],
        ["a keepalive", "wg set flannel-wg peer $OTHER persistent-keepalive 9"],
        ["another endpoint", `wg set flannel-wg peer ${KEY_A} endpoint 192.0.2.77:7`],
        ["a stale peer", `wg set flannel-wg peer ${KEY_B} allowed-ips 10.5.200.0/24`],
        ["another key", "wg genkey | wg set flannel-wg private-key /dev/stdin"],
        ["another port", "wg set flannel-wg listen-port 7"],
      ] as const,
    ))("%s is repaired", (_name, damage) => expectRepaired(damage, HEAL_MS), 300_000);
  });

  describe("what the kernel announces:", () => {
    test.each(sample(
      3,
      [
        ["a deleted device", "ip link del flannel-wg"],
        ["a deleted IPv6 device", "ip link del flannel-wg-v6"],
        ["a recreated device", "ip link del flannel-wg; ip link add flannel-wg type wireguard"],
        ["a device set down", "ip link set flannel-wg down"],
        ["another MTU", "ip link set flannel-wg mtu 1300"],
        ["a deleted address", "ip addr del 10.5.1.0/32 dev flannel-wg"],
        ["a deleted route", "ip route del 10.5.0.0/16"],
        ["a deleted IPv6 route", "ip route del fd00:5::/48"],
        ["a stale route", "ip route add 10.5.200.0/24 dev flannel-wg"],
      ] as const,
    ))("%s is repaired at once", (_name, damage) => expectRepaired(damage, ANNOUNCED_MS), 300_000);
  });

  async function expectRepaired(damage: string, limitMs: number): Promise<void> {
    const one = cluster.host(1);
    process.kill(one.daemon.pid, "SIGSTOP"); // It would repair the damage before it is read.
    await one.sh(`OTHER=${other}\n${damage}`);
    expect(await state(one)).not.toBe(before);
    process.kill(one.daemon.pid, "SIGCONT");
    await eventually(`"${damage}" is undone`, limitMs, async () => {
      expect(await state(one)).toBe(before);
      return true;
    });
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
  }
});

describe("a running flow", () => {
  test("loses no packet by a restart or a crash, and keeps its session", async () => {
    await using cluster = await startCluster({});
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const [before, sessions] = [await state(one), await settledHandshakes(one)];
    const pings = [one.ping(two, 4), one.ping(two, 6), two.ping(one, 4), two.ping(one, 6)];
    for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM", "SIGKILL"] as const) {
      const { code } = await one.daemon.stop(signal);
      if (signal === "SIGTERM") expect(code).toBe(0);
      expect(await state(one)).toBe(before);
      await Bun.sleep(100);
      await one.up();
      expect(await state(one)).toBe(before);
    }
    for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
    expect(await handshakes(one)).toBe(sessions);
  }, 300_000);

  test("from behind a translating router keeps the endpoint that the kernel learned", async () => {
    await using cluster = await startCluster({ config: { ...IPV4, Backend: WIREGUARD } });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    await two.sh(
      "iptables -t nat -A POSTROUTING -o eth0 -p udp --sport 51820 " +
        "-j SNAT --to-source 192.0.2.2:40000",
    );
    const ping = two.ping(one);
    const endpoint = () => wg(one, "show flannel-wg endpoints");
    await eventually("the endpoint is learned", 20_000, async () => {
      expect(await endpoint()).toContain("192.0.2.2:40000");
      return true;
    });
    const answered = ping.received;
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await one.daemon.stop(signal);
      await one.up();
      await Bun.sleep(2_500); // The peers are read meanwhile.
      expect(await endpoint()).toContain("192.0.2.2:40000");
    }
    await eventually("the flow continues", ANNOUNCED_MS, () => ping.received > answered + 100);
    await ping.stop();

    // A later change of the peer's lease overrides the learned endpoint.
    const lease = await cluster.leaseOf(two);
    await two.daemon.stop("SIGKILL");
    await cluster.etcd.put(
      `${PREFIX}/subnets/${lease.key}`,
      JSON.stringify({ ...lease.value, PublicIP: "192.0.2.99" }),
    );
    await eventually("the endpoint is the lease's", HEAL_MS, async () => {
      expect(await endpoint()).toContain("192.0.2.99:51820");
      return true;
    });
  }, 300_000);

  test("is encrypted on the wire", async () => {
    await using cluster = await startCluster({});
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const marker = "666c616e6e656c2074657374"; // "flannel test"
    const capture = join(one.directory, "capture");
    // The switch's reply is the last packet.
    await one.sh(`tcpdump --immediate-mode -i eth0 -U -w ${capture} not tcp 2>${capture}.log &
until grep -q "listening on" ${capture}.log; do sleep 0.1; done
ping -c 5 -i 0.2 -w 30 -p ${marker} 10.5.2.1 >/dev/null
ping -c 5 -i 0.2 -w 30 -p ${marker} fd00:5:0:2::1 >/dev/null
ping -c 1 -w 30 192.0.2.254 >/dev/null
until tcpdump -n -r ${capture} src 192.0.2.254 and icmp 2>/dev/null | grep -q .; do sleep 0.1; done
kill $!; wait $! || true`);
    const bytes = readFileSync(capture);
    expect(bytes.includes(Buffer.from(marker, "hex"))).toBe(false);
    const known = "arp or icmp6 or (icmp and host 192.0.2.254)";
    const packets = (await one.sh(`tcpdump -n -r ${capture} 'not (${known})' 2>/dev/null`))
      .split("\n").filter(Boolean);
    const ends = `${one.address(4)}.51820 > ${two.address(4)}.51820: UDP`;
    expect(packets.filter((packet) => packet.includes(ends)).length).toBeGreaterThanOrEqual(5);
    const strays = packets.filter((packet) => !/\.5182([01]) > .*\.5182\1: UDP/.test(packet));
    expect(strays).toEqual([]);
    // Type 4 of the protocol: transport data.
    const data = await one.sh(`tcpdump -n -r ${capture} 'udp[8:4] = 0x04000000' 2>/dev/null`);
    expect(data.split("\n").length).toBeGreaterThan(10);
  }, 300_000);
});

describe("the key", () => {
  test("is in a file of mode 0400, and is kept with the file, over a reboot too", async () => {
    await using cluster = await startCluster({ config: { ...IPV4, Backend: WIREGUARD } });
    const one = cluster.host(1);
    const key = await publicKey(one);
    expect(statSync(keyFile(one)).mode & 0o777).toBe(0o400);
    expect((await one.sh(`wg pubkey < ${keyFile(one)}`)).trim()).toBe(key);
    await one.daemon.stop();
    await one.sh("ip link del flannel-wg");
    await one.up();
    expect(await publicKey(one)).toBe(key);
  }, 300_000);

  test(
    "survives the loss of its file while the device exists, and moves to another file",
    async () => {
      await using cluster = await startCluster({ config: { ...IPV4, Backend: WIREGUARD } });
      const one = cluster.host(1);
      const [before, key] = [await state(one), readFileSync(keyFile(one), "utf8")];
      await one.daemon.stop();
      rmSync(keyFile(one));
      const daemon = await one.up();
      expect(readFileSync(keyFile(one), "utf8")).toBe(key);
      expect(daemon.log()).toContain("WireGuard key file /run/flannel/wgkey was missing; wrote ");
      await one.daemon.stop();
      const elsewhere = join(one.directory, "persistent", "wgkey");
      await one.up({ env: { WIREGUARD_KEY_FILE: elsewhere } });
      expect(readFileSync(elsewhere, "utf8")).toBe(key);
      expect(await state(one)).toBe(before);
    },
    300_000,
  );

  test("lost with the device is replaced by a new one, which the others use", async () => {
    await using cluster = await startCluster({ config: { ...IPV4, Backend: WIREGUARD } });
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const old = await publicKey(one);
    await one.daemon.stop();
    await one.sh("ip link del flannel-wg");
    rmSync(keyFile(one));
    await one.up();
    const key = await publicKey(one);
    expect(key).not.toBe(old);
    await eventually("the other node knows", HEAL_MS, async () => {
      const text = await wireguardText(two);
      return text.includes(key) && !text.includes(old);
    });
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
  }, 300_000);

  test.each([
    [
      "that others can read",
      (path: string) => chmodSync(path, 0o644),
      /WireGuard key file \/run\/flannel\/wgkey is accessible to other users \(mode 0644\)/,
    ],
    [
      "that holds something else",
      (path: string) => {
        chmodSync(path, 0o600);
        writeFileSync(path, "not a key");
      },
      /WireGuard key file \/run\/flannel\/wgkey does not contain a key, which is one line of 44 /,
    ],
  ])("file %s is refused with one line, and kept", async (_name, damage, message) => {
    await using cluster = await startCluster({
      hosts: 1,
      config: { ...IPV4, Backend: WIREGUARD },
    });
    const one = cluster.host(1);
    const before = await state(one);
    await one.daemon.stop();
    damage(keyFile(one));
    const content = readFileSync(keyFile(one), "utf8");
    const daemon = one.start();
    expect(await daemon.exitCode()).toBe(1);
    expect(daemon.logLines(message)).toHaveLength(1);
    expect(readFileSync(keyFile(one), "utf8")).toBe(content);
    expect(await state(one)).toBe(before);
  }, 300_000);
});

test("a device of that name that flanneld does not own is left alone, and named", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure({ ...IPV4, Backend: WIREGUARD });
  const one = cluster.host(1);
  await one.sh("ip link add flannel-wg type bridge");
  const daemon = one.start();
  expect(await daemon.exitCode()).toBe(1);
  expect(daemon.log()).toContain('cannot set up "link flannel-wg');
  expect(await one.sh("ip -d link show flannel-wg")).toContain("bridge");
}, 300_000);

test(
  "an invalid pre-shared key ends the start with one line that does not show it",
  async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure({ ...IPV4, Backend: { ...WIREGUARD, PSK: PSK.slice(2) } });
    const daemon = cluster.host(1).start();
    expect(await daemon.exitCode()).toBe(1);
    const lines = daemon.logLines(/^[EF]/);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("PSK in ");
    expect(daemon.log()).not.toContain(PSK.slice(2));
  },
  300_000,
);

test.each(["separate", "auto"])(
  "an underlay too small for IPv6 is reported with mode %s; IPv4 continues, IPv6 recovers",
  async (Mode) => {
    await using cluster = await startCluster({
      config: { ...DUAL, Backend: { ...WIREGUARD, Mode } },
    });
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    const one = cluster.host(1);
    const before = await state(one);
    await one.sh("ip link set eth0 mtu 1359");
    await eventually("/readyz reports it and nothing else", HEAL_MS, async () => {
      const { status, body } = await one.http("/readyz");
      expect(body.trim().split("\n")).toHaveLength(2);
      return status === 503 && body.includes("eth0 has an MTU of 1359 bytes, which leaves 1279");
    });
    await eventually("the devices are smaller", HEAL_MS, async () => {
      const text = await one.kernel();
      return text.includes("link flannel-wg: mtu 1279 ") && !text.includes("fd00:5:");
    });
    const ping = one.ping(cluster.host(2), 4);
    await eventually("IPv4 continues", HEAL_MS, () => ping.received > 10);
    await ping.stop();
    await one.sh("ip link set eth0 mtu 1500");
    await eventually("all is as it was", ANNOUNCED_MS, async () => {
      expect(await state(one)).toBe(before);
      return (await one.http("/readyz")).status === 200;
    });
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    expect(one.daemon.logLines(/cannot (set|delete)/)).toEqual([]);
  },
  300_000,
);
