/** Tests of every backend that sends through an ipip device, with or without UDP around it. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host, StartOptions } from "../support/host.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { expectTunnelFollows, localAddress } from "../support/public_address.ts";
import { sample } from "../support/slow_tests.ts";
import { eventually } from "../support/wait.ts";

export interface TunnelBackend {
  /** The Backend object of the network configuration. */
  readonly backend: { readonly Type: string };
  readonly device: string;
  /** MTU of the device on an external interface with 1500 bytes. */
  readonly mtuBytes: number;
  /** What `ip -d link show` says of the device beyond its local address. */
  readonly encapsulation: string;
  /** Further entries of the node, as text. */
  readonly nodeEntries: readonly string[];
  /** `BackendType` of the leases. */
  readonly leaseType: string | undefined;
  /** Damage to entries that only this backend has. */
  readonly damage: readonly Damage[];
  readonly start?: StartOptions;
}

/** `limitMs` is how soon it must be undone, where the kernel does not announce it. */
export type Damage = readonly [name: string, script: string, limitMs?: number];

/**
 * Changes that the kernel announces are repaired at once, others after minutes. tests/netns
 * measures how soon; here a virtual machine shares the processor with other programs.
 */
const ANNOUNCED_MS = 10_000;

export function describeTunnel(tunnel: TunnelBackend): void {
  const { backend, device, mtuBytes, encapsulation, nodeEntries, damage } = tunnel;
  const { start = {} } = tunnel;

  async function startCluster(hosts: number): Promise<Cluster> {
    const cluster = await Cluster.create({ hosts });
    try {
      rememberSubnets(cluster, { ipv4: true, ipv6: false });
      await cluster.configure({ ...IPV4, Backend: backend });
      await cluster.startAll(start);
      await cluster.attachWorkloads();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  function link(mtu: number, local: string): string {
    const type = `type ipip remote any local ${local}${encapsulation}`;
    return `link ${device}: mtu ${mtu} state up ${type}`;
  }

  function leaseValue(publicIp: string): string {
    return JSON.stringify({
      PublicIP: publicIp,
      PublicIPv6: null,
      ...(tunnel.leaseType === undefined ? {} : { BackendType: tunnel.leaseType }),
    });
  }

  async function expectRoute(host: Host, subnet: string, gateway: string | undefined) {
    await eventually(`the gateway of ${subnet} is ${gateway ?? "none"}`, ANNOUNCED_MS, async () => {
      const routes = (await host.kernel()).split("\n").filter((line) => line.includes(subnet));
      const expected = gateway === undefined
        ? []
        : [`route ${subnet} via ${gateway} dev ${device} proto 70 onlink`];
      if (routes.join() !== expected.join()) throw new Error(`there is ${routes.join() || "none"}`);
      return true;
    });
  }

  describe("three hosts", () => {
    test(
      "hold a device, an address and a route to each peer, and write leases as Go flannel does",
      async () => {
        await using cluster = await startCluster(3);
        await expectRoute(cluster.host(1), "10.5.3.0/24", "192.0.2.3");
        expect(await cluster.host(1).kernel()).toBe(
          [
            `addr 10.5.1.0/32 dev ${device}`,
            ...nodeEntries,
            link(mtuBytes, "192.0.2.1"),
            `route 10.5.2.0/24 via 192.0.2.2 dev ${device} proto 70 onlink`,
            `route 10.5.3.0/24 via 192.0.2.3 dev ${device} proto 70 onlink`,
          ].sort().map((line) => `${line}\n`).join(""),
        );
        expect(cluster.host(1).subnet().mtuBytes).toBe(mtuBytes);
        const { value } = await cluster.leaseOf(cluster.host(1));
        expect(JSON.stringify(value)).toBe(leaseValue("192.0.2.1"));
        await cluster.expectMesh();
      },
      180_000,
    );

    test("join and leave, also while a daemon is down", async () => {
      await using cluster = await startCluster(2);
      const one = cluster.host(1);
      const key = `${PREFIX}/subnets/10.5.9.0-24`;
      await cluster.etcd.put(key, leaseValue("192.0.2.9"));
      await expectRoute(one, "10.5.9.0/24", "192.0.2.9");
      await cluster.etcd.put(key, leaseValue("192.0.2.10"));
      await expectRoute(one, "10.5.9.0/24", "192.0.2.10");
      await cluster.etcd.delete(key);
      await expectRoute(one, "10.5.9.0/24", undefined);
      await cluster.etcd.put(key, leaseValue("192.0.2.9"));
      await expectRoute(one, "10.5.9.0/24", "192.0.2.9");
      await one.daemon.stop();
      await cluster.etcd.delete(key);
      await one.up(start);
      await expectRoute(one, "10.5.9.0/24", undefined);
      await cluster.expectMesh();
    }, 180_000);
  });

  test("a lease with the host's own address is ignored, and the host stays ready", async () => {
    await using cluster = await startCluster(2);
    const one = cluster.host(1);
    const before = await one.kernel();
    await cluster.etcd.put(`${PREFIX}/subnets/10.5.9.0-24`, leaseValue("192.0.2.1"));
    await cluster.etcd.put(`${PREFIX}/subnets/10.5.8.0-24`, leaseValue("192.0.2.8"));
    await expectRoute(one, "10.5.8.0/24", "192.0.2.8");
    await cluster.etcd.delete(`${PREFIX}/subnets/10.5.8.0-24`);
    await expectRoute(one, "10.5.8.0/24", undefined);
    expect(await one.kernel()).toBe(before);
    expect((await one.http("/readyz")).status).toBe(200);
    expect(one.daemon.logLines(/ignoring lease 10.5.9.0-24: .* is this node's own/)).toHaveLength(
      1,
    );
    expect(one.daemon.logLines(/cannot set/)).toEqual([]);
    await cluster.expectMesh();
  }, 180_000);

  test(
    "the tunnel begins at an advertised address as long as the host has it",
    () =>
      expectTunnelFollows({
        type: backend.Type,
        ...(start.env === undefined ? {} : { env: start.env }),
        end: (host) => localAddress(host, device),
      }),
    300_000,
  );

  describe("drift", () => {
    let cluster: Cluster | undefined;
    beforeAll(async () => {
      cluster = await startCluster(2);
      await cluster.expectMesh();
    }, 180_000);
    afterAll(async () => await cluster?.[Symbol.asyncDispose]());
    // Repairs of an entry that keeps changing are delayed: each test starts a new daemon.
    beforeEach(async () => {
      const one = (cluster as Cluster).host(1);
      await one.daemon.stop("SIGKILL");
      await one.up(start);
    }, 180_000);

    test.each<Damage>(sample(3, [
      ["a deleted device", `ip link del ${device}`],
      ["a device set down", `ip link set ${device} down`],
      ["another MTU", `ip link set ${device} mtu 1300`],
      ["another local address", `ip link change ${device} type ipip local 192.0.2.77`],
      ["a deleted address", `ip addr del 10.5.1.0/32 dev ${device}`],
      ["a second address", `ip addr add 10.5.77.0/32 dev ${device}`],
      ["a deleted route", "ip route del 10.5.2.0/24"],
      ["a route to elsewhere", "ip route replace 10.5.2.0/24 dev eth0"],
      [
        "a route to another host",
        `ip route replace 10.5.2.0/24 via 192.0.2.77 dev ${device} onlink`,
      ],
      ["a stale route", `ip route add 10.5.77.0/24 via 192.0.2.77 dev ${device} onlink`],
      ...damage,
    ]))("%s is repaired", async (_name, script, limitMs = ANNOUNCED_MS) => {
      const one = (cluster as Cluster).host(1);
      const before = await one.kernel();
      // It would repair the first change before the second is made.
      process.kill(one.daemon.pid, "SIGSTOP");
      await one.sh(script);
      process.kill(one.daemon.pid, "SIGCONT");
      await eventually(`"${script}" is undone`, limitMs, async () => {
        const now = await one.kernel();
        if (now !== before) throw new Error(`it reads\n${now}instead of\n${before}`);
        return true;
      });
      await (cluster as Cluster).expectMesh();
    }, 180_000);

    test("another MTU of the external interface is followed", async () => {
      const one = (cluster as Cluster).host(1);
      await one.sh("ip link set eth0 mtu 1400");
      await eventually(
        "the device follows",
        ANNOUNCED_MS,
        async () => (await one.kernel()).includes(link(mtuBytes - 100, "192.0.2.1")),
      );
      await one.sh("ip link set eth0 mtu 1500");
      await eventually(
        "the device follows",
        ANNOUNCED_MS,
        async () => (await one.kernel()).includes(link(mtuBytes, "192.0.2.1")),
      );
    }, 180_000);
  });

  describe("a restart", () => {
    test("by either signal under a running ping loses no packet and changes nothing", async () => {
      await using cluster = await startCluster(2);
      await cluster.expectMesh();
      const [one, two] = [cluster.host(1), cluster.host(2)];
      const before = await one.kernel();
      const { ifindex } = await deviceOf(one);
      const pings = [one.ping(two), two.ping(one)];
      for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM"] as const) {
        await one.daemon.stop(signal);
        expect(await one.kernel()).toBe(before);
        await one.up(start);
        expect(await one.kernel()).toBe(before);
      }
      for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
      expect((await deviceOf(one)).ifindex).toBe(ifindex);
    }, 180_000);

    test("removes what a previous run left on the device", async () => {
      await using cluster = await startCluster(2);
      const one = cluster.host(1);
      const before = await one.kernel();
      await one.daemon.stop();
      await one.sh(`ip addr add 10.5.88.0/32 dev ${device}
ip route add 10.5.88.0/24 via 192.0.2.88 dev ${device} onlink proto 70
ip route add 10.5.89.0/24 via 192.0.2.89 dev ${device} onlink`);
      await one.up(start);
      expect(await one.kernel()).toBe(before);
      await cluster.expectMesh();
    }, 180_000);
  });

  describe("a device of that name that flanneld does not own", () => {
    test.each([
      ["a bridge", `ip link add ${device} type bridge`, "type bridge"],
      [
        "a tunnel between two hosts",
        `ip link add ${device} type ipip local 192.0.2.1 remote 192.0.2.2`,
        "type ipip",
      ],
    ])("is refused and left alone: %s", async (_name, script, kind) => {
      await using cluster = await Cluster.create({ hosts: 1 });
      await cluster.configure({ ...IPV4, Backend: backend });
      const one = cluster.host(1);
      await one.sh(script);
      const { ifindex } = await deviceOf(one);
      const daemon = one.start(start);
      expect(await daemon.exitCode()).toBe(1);
      const [line, ...more] = daemon.logLines(/^[EF]/);
      expect(more).toEqual([]);
      expect(line).toContain(`link ${device}`);
      expect(line).toContain("conflicts with an existing entry not owned by flanneld");
      expect(line).toContain(kind);
      expect((await deviceOf(one)).ifindex).toBe(ifindex);
    }, 180_000);
  });

  async function deviceOf(host: Host): Promise<{ readonly ifindex: number }> {
    return JSON.parse(await host.sh(`ip -j link show ${device}`))[0];
  }
}

/** Starts one host with a configuration that its daemon must refuse with one matching line. */
export async function expectRefused(
  { config, line, ...start }: { readonly config: object; readonly line: RegExp } & StartOptions,
): Promise<void> {
  await using cluster = await Cluster.create({ hosts: 1, families: [4, 6] });
  await cluster.configure(config);
  const one = cluster.host(1);
  const daemon = one.start(start);
  expect(await daemon.exitCode()).toBe(1);
  const lines = daemon.logLines(/^[EF]/);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(line);
  expect(await one.kernel()).toBe("");
}
