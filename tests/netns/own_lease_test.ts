/** How a node gets and keeps its subnet: many starts, reservations, revocation, duplicates. */

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };

test("60 daemons that start at once on 63 subnets get one each", async () => {
  await using cluster = await Cluster.create({ hosts: 60 });
  await cluster.configure({ Network: "10.5.0.0/18", SubnetLen: 24, Backend: { Type: "alloc" } });
  for (const host of cluster.hosts) host.start();
  await Promise.all(
    cluster.hosts.map((host) =>
      eventually(`${host.name} has a subnet`, 240_000, () => host.subnetText())
    ),
  );
  const leases = await cluster.leases();
  expect(new Set(leases.map((lease) => lease.publicIp)).size).toBe(60);
  expect(leases).toHaveLength(60);
  const taken = new Map(leases.map((lease) => [lease.publicIp, lease.key]));
  for (const host of cluster.hosts) {
    const subnet = /FLANNEL_SUBNET=(.*)\.1\/24/.exec(host.subnetText())?.[1];
    expect(taken.get(host.address(4))).toBe(`${subnet}.0-24`);
  }
}, 300_000);

test("a node that finds no free subnet logs it and takes none", async () => {
  await using cluster = await Cluster.create({ hosts: 4 });
  // Four subnets, of which the first is not assigned.
  await cluster.configure({ Network: "10.5.0.0/22", SubnetLen: 24, Backend: { Type: "vxlan" } });
  for (const host of cluster.hosts.slice(0, 3)) await host.up();
  const four = cluster.host(4);
  const daemon = four.start();
  await eventually("it is logged", 30_000, () => daemon.log().includes("out of subnets"));
  expect(() => four.subnetText()).toThrow();
  expect(await cluster.leases()).toHaveLength(3);
  expect(await four.kernel()).toBe("");
}, 120_000);

describe("a reservation", () => {
  test(
    "is used by the node with its public address and never gets a time to live",
    async () => {
      await using cluster = await Cluster.create({ hosts: 1 });
      await cluster.configure(VXLAN);
      const key = `${PREFIX}/subnets/10.5.77.0-24`;
      await cluster.etcd.put(key, JSON.stringify({ PublicIP: "192.0.2.1", PublicIPv6: null }));
      const one = cluster.host(1);
      for (let start = 0; start < 2; start++) {
        await one.up();
        expect(one.subnetText()).toContain("FLANNEL_SUBNET=10.5.77.1/24\n");
        const lease = await cluster.leaseOf(one);
        expect(lease.etcdLease).toBe("0");
        expect(lease.value.BackendType).toBe("vxlan");
        await one.daemon.stop();
      }
      expect(await cluster.leases()).toHaveLength(1);
    },
    120_000,
  );

  test("of another node is not assigned to this one", async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure({ Network: "10.5.0.0/22", SubnetLen: 24, Backend: { Type: "vxlan" } });
    for (const subnet of ["10.5.1.0-24", "10.5.2.0-24"]) {
      const value = { PublicIP: `192.0.2.${subnet[5]}9`, PublicIPv6: null };
      await cluster.etcd.put(`${PREFIX}/subnets/${subnet}`, JSON.stringify(value));
    }
    await cluster.host(1).up();
    expect(cluster.host(1).subnetText()).toContain("FLANNEL_SUBNET=10.5.3.1/24\n");
  }, 120_000);
});

describe("the own lease", () => {
  test("lives for a day, under the key and with the value that Go nodes read", async () => {
    await using cluster = await Cluster.create({ hosts: 1, families: [4, 6] });
    rememberSubnets(cluster, { ipv4: true, ipv6: true });
    await cluster.configure({ ...VXLAN, EnableIPv6: true, IPv6Network: "fd00:5::/48" });
    await cluster.startAll();
    const [lease] = await cluster.leases();
    expect(lease?.key).toBe("10.5.1.0-24&fd00:5:0:1::-64");
    const mac = /^02:|^.[26ae]:/;
    expect(lease?.value).toEqual({
      PublicIP: "192.0.2.1",
      PublicIPv6: "2001:db8::1",
      BackendType: "vxlan",
      BackendData: { VNI: 1, VtepMAC: expect.stringMatching(mac) },
      BackendV6Data: { VNI: 1, VtepMAC: expect.stringMatching(mac) },
    });
    const answer = await cluster.etcd.call("lease/timetolive", { ID: lease?.etcdLease });
    expect((answer as { grantedTTL: string }).grantedTTL).toBe("86400");
    const keys = (await cluster.etcd.list(`${PREFIX}/subnets/`)).map(({ key }) => key);
    expect(keys).toEqual([`${PREFIX}/subnets/10.5.1.0-24&fd00:5:0:1::-64`]);
  }, 120_000);

  test("deleted by an operator is restored, and no packet is lost", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure(VXLAN);
    await cluster.startAll();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const before = await cluster.leaseOf(one);
    const monitor = join(two.directory, "monitor");
    await two.sh(`ip monitor route neigh >${monitor} 2>&1 &`);
    const entriesChanged = () => /flannel/.test(readFileSync(monitor, "utf8"));
    // On a busy machine the others may drop a lease before it is restored.
    for (let attempt = 1;; attempt++) {
      const ping = one.ping(two, 4, 0.001);
      await eventually("the ping has begun", 30_000, () => ping.received > 20);
      await cluster.etcd.call("kv/deleterange", rangeOf(attempt === 1 ? before.key : ""));
      const after = await eventually("the key is back", 30_000, () => cluster.leaseOf(one));
      expect(after.key).toBe(before.key);
      expect(after.value).toEqual(before.value);
      expect(after.etcdLease).not.toBe("0");
      const { received } = ping;
      await eventually("packets flow", 30_000, () => ping.received > received + 2000);
      const { lost } = await ping.stop();
      if (absenceMs(one) > 500 && attempt < 6) continue;
      expect({ lost, changed: entriesChanged() }).toEqual({ lost: [], changed: false });
      if (attempt > 1) break;
    }
    const exited = await Promise.race([one.daemon.exited, Bun.sleep(300).then(() => "runs")]);
    expect(exited).toBe("runs");
    // When the lease stays deleted, its entries are removed.
    await one.daemon.stop();
    await cluster.etcd.delete(`${PREFIX}/subnets/${before.key}`);
    await eventually(
      "the peer's entries are gone",
      30_000,
      async () => !(await two.kernel()).includes(before.key.replace("-", "/")) && entriesChanged(),
    );
  }, 180_000);

  test(
    "that belongs to another node now ends the daemon with exit code 1 and that node's name",
    async () => {
      await using cluster = await Cluster.create({ hosts: 1 });
      await cluster.configure(VXLAN);
      await cluster.startAll();
      const one = cluster.host(1);
      const { key, value } = await cluster.leaseOf(one);
      const stolen = { ...value, PublicIP: "192.0.2.66" };
      await cluster.etcd.put(`${PREFIX}/subnets/${key}`, JSON.stringify(stolen));
      expect(await one.daemon.exitCode()).toBe(1);
      expect(one.daemon.logLines(/lost its subnet/).join("\n")).toContain("192.0.2.66");
    },
    120_000,
  );

  test("that does not fit a changed configuration is replaced at the next start", async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure(VXLAN);
    await cluster.startAll();
    const one = cluster.host(1);
    await one.daemon.stop();
    await cluster.configure({ Network: "10.66.0.0/16", Backend: { Type: "vxlan" } });
    await one.up();
    expect(one.subnetText()).toContain("FLANNEL_NETWORK=10.66.0.0/16\nFLANNEL_SUBNET=10.66.");
    const leases = await cluster.leases();
    expect(leases.map((lease) => lease.key)).toEqual([expect.stringMatching(/^10\.66\./)]);
    const text = await one.kernel();
    expect(text).toContain("addr 10.66.");
    expect(text).not.toContain("10.5.");
    expect(await one.sh("iptables-save")).not.toContain("10.5.0.0/16");
  }, 120_000);

  test("keeps its subnet when etcd has forgotten everything but the configuration", async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure(VXLAN);
    await cluster.startAll();
    const one = cluster.host(1);
    const before = one.subnetText();
    await one.daemon.stop();
    for (const { key } of await cluster.leases()) {
      await cluster.etcd.delete(`${PREFIX}/subnets/${key}`);
    }
    await one.up();
    expect(one.subnetText()).toBe(before);
  }, 120_000);
});

describe("two nodes with one public address", () => {
  const flags = ["--public-ip=192.0.2.77"];

  test("the second stops and names the first and what to change", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure(VXLAN);
    const [one, two] = [cluster.host(1), cluster.host(2)];
    await one.up({ flags });
    const before = await one.kernel();
    // After everything in etcd was deleted as well (from the key "\0" on).
    await cluster.etcd.call("kv/deleterange", { key: "AA==", range_end: "AA==" });
    await cluster.configure(VXLAN);
    await eventually("lease and session are back", 30_000, async () => {
      const keys = (await cluster.etcd.list(`${PREFIX}/s`)).map(({ key }) => key.split("/")[3]);
      return keys.join() === "sessions,subnets";
    });
    const daemon = two.start({ flags });
    expect(await daemon.exitCode()).toBe(1);
    expect(daemon.logEnd()).toMatch(/192\.0\.2\.77/);
    expect(daemon.logEnd()).toMatch(/set --public-ip to this node.s own address/);
    expect(await cluster.leases()).toHaveLength(1);
    expect(await one.kernel()).toBe(before);
    expect((await one.http("/readyz")).status).toBe(200);
    expect(await two.kernel()).toBe("");
  }, 120_000);

  test(
    "a node rebuilt with the address of one that stopped takes its lease over at once",
    async () => {
      await using cluster = await Cluster.create({ hosts: 2 });
      await cluster.configure(VXLAN);
      const [one, two] = [cluster.host(1), cluster.host(2)];
      await one.up({ flags });
      const { key } = (await cluster.leases())[0] as { key: string };
      await one.daemon.stop();
      await two.up({ flags });
      const leases = await cluster.leases();
      expect(leases.map((lease) => lease.key)).toEqual([key]);
    },
    120_000,
  );

  test(
    "a node rebuilt with the address of one that crashed takes its lease over within a minute",
    async () => {
      await using cluster = await Cluster.create({ hosts: 2 });
      await cluster.configure(VXLAN);
      const [one, two] = [cluster.host(1), cluster.host(2)];
      await one.up({ flags });
      await one.daemon.stop("SIGKILL");
      two.start({ flags });
      await two.ready(60_000);
      expect(await cluster.leases()).toHaveLength(1);
    },
    120_000,
  );
});

/** One lease, or all of them, as `etcdctl del --prefix` names them. */
function rangeOf(key: string): { key: string; range_end: string } {
  const first = `${PREFIX}/subnets/${key}`;
  const last = key === "" ? `${PREFIX}/subnets0` : `${first}\0`;
  return { key: btoa(first), range_end: btoa(last) };
}

/** How long this host's lease was missing last time. */
function absenceMs(host: Host): number {
  const time = (pattern: RegExp) => {
    const text = host.daemon.logLines(pattern).at(-1)?.split(" ")[1] ?? "";
    const [hours = 0, minutes = 0, seconds = 0] = text.split(":").map(Number);
    return ((hours * 60 + minutes) * 60 + seconds) * 1000;
  };
  return time(/restored this node's lease/) - time(/this node's lease (expired|was deleted)/);
}
