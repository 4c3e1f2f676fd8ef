import { describe, expect, spyOn, test } from "bun:test";
import fc from "fast-check";
import { mapFamilies, type PerFamily } from "../../../src/addr/family.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { type Prefix, prefixesOverlap } from "../../../src/addr/prefix.ts";
import { parseNetworkConfig, type SubnetAllocation } from "../../../src/config/network_config.ts";
import type { Lease, LeaseKey, LeaseWatch } from "../../../src/subnet/lease.ts";
import { decodeLease, encodeLeaseKey, isInvalidLease } from "../../../src/subnet/lease_codec.ts";
import { type LeaseChange, LeaseTable } from "../../../src/subnet/lease_table.ts";
import { whyInvalid } from "../../../src/subnet/lease_validation.ts";
import { PrefixTrie } from "../../../src/subnet/prefix_trie.ts";
import { unpackedChanges } from "../../support/unpacked.ts";

const CONFIG = parseNetworkConfig(
  JSON.stringify({ Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fc00::/48" }),
  { source: "test", warn: () => {} },
);
const OWN = {
  key: "10.5.1.0-24&fc00:0:0:1::-64" as LeaseKey,
  subnets: { 4: "10.5.1.0/24" as Prefix, 6: "fc00:0:0:1::/64" as Prefix },
};

function table(
  allocation: SubnetAllocation = "flanneld",
): { leases: LeaseTable; reports: string[] } {
  const reports: string[] = [];
  const leases = new LeaseTable({
    config: CONFIG,
    own: OWN,
    backendType: "vxlan",
    allocation,
    onRejected: ({ key, reason }) => reports.push(`${key}: ${reason}`),
    seed: 0.5,
  });
  return { leases, reports };
}

/** A lease on 10.5.`third`.0/24 and fc00:0:0:`third`::/64. */
function lease(
  third: number,
  change: {
    ipv4?: string | undefined;
    ipv6?: string | undefined;
    ip?: string;
    mac?: string;
    created?: number;
    modified?: number;
    type?: string;
  } = {},
): Lease {
  const all = {
    ipv4: `10.5.${third}.0/24`,
    ipv6: `fc00:0:0:${third.toString(16)}::/64`,
    ...change,
  };
  const subnets = {
    ...(all.ipv4 && { 4: all.ipv4 as Prefix }),
    ...(all.ipv6 && { 6: all.ipv6 as Prefix }),
  };
  return {
    key: encodeLeaseKey(subnets),
    subnets,
    attributes: {
      publicAddresses: {
        4: (change.ip ?? `192.0.2.${third % 256}`) as IpAddress,
        6: "2001:db8::9" as IpAddress,
      },
      backendType: change.type ?? "vxlan",
      backendData: { 4: { VNI: 1, VtepMAC: change.mac ?? "02:00:00:00:00:01" } },
    },
    created: BigInt(change.created ?? third),
    changed: BigInt(change.modified ?? change.created ?? third),
  };
}

function snapshot(...leases: Lease[]): LeaseWatch {
  return { kind: "snapshot", leases, invalid: [], revision: 100n };
}

function text(changes: LeaseChange[]): string[] {
  return changes.map((change) => `${change.kind} ${change.lease.key}`);
}

const KEY = (third: number) => lease(third).key;

describe("LeaseTable", () => {
  test("gives the other nodes' leases, and never our own", () => {
    const { leases } = table();
    expect(text(leases.apply(snapshot(lease(1), lease(2), lease(3))))).toEqual([
      `put ${KEY(2)}`,
      `put ${KEY(3)}`,
    ]);
    expect(leases.apply({ kind: "put", lease: lease(1, { mac: "x" }) })).toEqual([]);
    expect(leases.apply({ kind: "delete", key: KEY(1) })).toEqual([]);
    expect(text(leases.apply({ kind: "delete", key: KEY(2) }))).toEqual([`delete ${KEY(2)}`]);
    expect([...leases.leases.keys()]).toEqual([KEY(3)]);
  });

  test("a snapshot after a compaction gives leases that went and attributes that changed", () => {
    const { leases } = table();
    leases.apply(snapshot(lease(2), lease(3), lease(4)));
    const changed = lease(3, { mac: "02:00:00:00:00:99", modified: 50 });
    const result = leases.apply(snapshot(changed, lease(4), lease(5)));
    expect(unpackedChanges(result)).toEqual([
      { kind: "delete", lease: lease(2) },
      { kind: "put", lease: changed, previous: lease(3) },
      { kind: "put", lease: lease(5) },
    ]);
  });

  test("a renewal, which writes the same again, changes nothing", () => {
    const { leases } = table();
    leases.apply(snapshot(lease(2)));
    expect(leases.apply({ kind: "put", lease: lease(2, { modified: 70 }) })).toEqual([]);
    expect(leases.leases.get(KEY(2))?.changed).toBe(70n);
  });

  test("a change to what a lease advertises comes with what it was", () => {
    const { leases } = table();
    leases.apply(snapshot(lease(2)));
    const moved = lease(2, { ip: "192.0.2.77", modified: 70 });
    expect(unpackedChanges(leases.apply({ kind: "put", lease: moved }))).toEqual([
      { kind: "put", lease: moved, previous: lease(2) },
    ]);
  });

  test("a lease of the same name and age with other subnets replaces the one before", () => {
    const { leases } = table();
    leases.apply(snapshot(lease(2), lease(3)));
    const again = { ...lease(9, { created: 2 }), key: KEY(2) };
    expect(unpackedChanges(leases.apply({ kind: "put", lease: again }))).toEqual([
      { kind: "delete", lease: lease(2), isRejected: true },
      { kind: "put", lease: again },
    ]);
    const rival = lease(2, { created: 4 });
    const free = { ...rival, key: KEY(8) };
    expect(text(leases.apply({ kind: "put", lease: free }))).toEqual([`put ${KEY(8)}`]);
  });

  test.each<[string, Lease, string]>([
    ["every address", lease(9, { ipv4: "0.0.0.0/0", ipv6: undefined }), "outside the network"],
    ["a foreign subnet", lease(9, { ipv4: "10.6.0.0/24" }), "outside the network 10.5.0.0/16"],
    ["the whole network", lease(9, { ipv4: "10.5.0.0/16" }), "is not a /24"],
    ["one host", lease(9, { ipv4: "10.5.9.9/32" }), "is not a /24"],
    ["a foreign IPv6 subnet", lease(9, { ipv6: "fd00::/64" }), "outside the network fc00::/48"],
    ["our subnet", lease(9, { ipv4: "10.5.1.0/24" }), "overlaps this node's subnet 10.5.1.0/24"],
    ["our IPv6 subnet", lease(9, { ipv6: "fc00:0:0:1::/64" }), "overlaps this node's subnet"],
    ["loopback", lease(9, { ip: "127.0.0.1" }), "public address 127.0.0.1 is a loopback address"],
    ["multicast", lease(9, { ip: "224.0.0.5" }), "public address 224.0.0.5 is a multicast address"],
    ["broadcast", lease(9, { ip: "255.255.255.255" }), "is a broadcast address"],
    [
      "an address of the overlay",
      lease(9, { ip: "10.5.7.1" }),
      "is inside the overlay network 10.5",
    ],
    ["another backend", lease(9, { type: "host-gw" }), 'its backend is "host-gw", this node\'s'],
    [
      "the backend in capitals",
      lease(9, { type: "VXLAN" }),
      'its backend is "VXLAN", this node\'s',
    ],
    [
      "a backend of a megabyte",
      lease(9, { type: "x".repeat(1_000_000) }),
      `its backend is "${"x".repeat(60)}…", this node's is "vxlan"`,
    ],
  ])("a lease with %s is rejected, reported once and counted", (_, hostile, reason) => {
    const { leases, reports } = table();
    expect(text(leases.apply(snapshot(hostile, lease(3))))).toEqual([`put ${KEY(3)}`]);
    leases.apply({ kind: "put", lease: { ...hostile, changed: 99n } });
    leases.apply(snapshot(hostile, lease(3)));
    expect(reports).toHaveLength(1);
    expect(reports[0]).toContain(reason);
    expect([...leases.rejected]).toEqual([[hostile.key, expect.stringContaining(reason)]]);
    leases.apply({ kind: "delete", key: hostile.key });
    expect(leases.rejected.size).toBe(0);
  });

  test("what cannot be read withdraws the lease that was there, until it can be", () => {
    const { leases, reports } = table();
    leases.apply(snapshot(lease(2)));
    const invalid = { key: KEY(2), reason: "its value is not JSON" };
    expect(text(leases.apply({ kind: "invalid", invalid }))).toEqual([`delete ${KEY(2)}`]);
    expect(reports).toEqual([`${KEY(2)}: its value is not JSON`]);
    expect(text(leases.apply({ kind: "put", lease: lease(2) }))).toEqual([`put ${KEY(2)}`]);
    expect(leases.rejected.size).toBe(0);
    leases.apply({ kind: "snapshot", leases: [], invalid: [invalid], revision: 9n });
    expect(leases.leases.size).toBe(0);
    expect([...leases.rejected.keys()]).toEqual([KEY(2)]);
  });

  test("one at which this program fails is rejected with the reason, and no other", () => {
    const { leases, reports } = table();
    const broken: Lease = {
      ...lease(2),
      get attributes(): never {
        throw new RangeError("Maximum call stack size exceeded.");
      },
    };
    expect(text(leases.apply(snapshot(broken, lease(3))))).toEqual([`put ${KEY(3)}`]);
    expect(reports).toEqual([
      `${KEY(2)}: this program cannot process it: Maximum call stack size exceeded.`,
    ]);
    expect([...leases.rejected.keys()]).toEqual([KEY(2)]);
    expect(text(leases.apply({ kind: "put", lease: lease(2) }))).toEqual([`put ${KEY(2)}`]);
    expect(text(leases.apply({ kind: "put", lease: broken }))).toEqual([`delete ${KEY(2)}`]);
  });

  test("a deletion distinguishes a deleted lease from a rejected one", () => {
    const { leases } = table();
    leases.apply(snapshot(lease(2), lease(3), lease(4)));
    const hostile = lease(2, { ip: "127.0.0.1", modified: 50 });
    expect(unpackedChanges(leases.apply({ kind: "put", lease: hostile }))).toEqual([
      { kind: "delete", lease: lease(2), isRejected: true },
    ]);
    const [gone] = unpackedChanges(leases.apply({ kind: "delete", key: KEY(3) }));
    expect(gone).toStrictEqual({ kind: "delete", lease: lease(3) });
    const [missing] = unpackedChanges(leases.apply(snapshot(hostile)));
    expect(missing).toStrictEqual({ kind: "delete", lease: lease(4) });
  });

  test("of two leases that overlap the older one holds, in either order of arrival", () => {
    const older = lease(2, { ipv6: "fc00:0:0:22::/64", created: 5 });
    const younger = lease(2, { created: 6 });
    for (const order of [[older, younger], [younger, older]]) {
      const { leases, reports } = table();
      for (const item of order) leases.apply({ kind: "put", lease: item });
      expect([...leases.leases.keys()]).toEqual([older.key]);
      expect(leases.rejected.get(younger.key)).toContain(`older lease ${older.key}`);
      expect(reports).toHaveLength(1);
    }
  });

  test("the younger of two overlapping leases comes back when the older one goes", () => {
    const { leases } = table();
    const older = lease(2, { ipv6: "fc00:0:0:22::/64", created: 5 });
    leases.apply(snapshot(older, lease(2, { created: 6 })));
    expect(text(leases.apply({ kind: "delete", key: older.key }))).toEqual([
      `delete ${older.key}`,
      `put ${KEY(2)}`,
    ]);
    expect(leases.rejected.size).toBe(0);
  });

  test("a lease is not shut out by one that is itself shut out", () => {
    const first = lease(2, { ipv6: "fc00:0:0:22::/64", created: 5 });
    const second = lease(2, { ipv6: "fc00:0:0:3::/64", created: 6 });
    const third = lease(3, { created: 7 });
    const { leases } = table();
    leases.apply(snapshot(first, second, third));
    expect([...leases.leases.keys()]).toEqual([first.key, third.key]);
    expect(text(leases.apply({ kind: "delete", key: first.key }))).toEqual([
      `delete ${first.key}`,
      `delete ${third.key}`,
      `put ${second.key}`,
    ]);
  });

  test("a public address in a part of the network that no subnet is given from is a host's", () => {
    const config = parseNetworkConfig('{"Network":"10.0.0.0/8","SubnetMax":"10.99.255.0"}', {
      source: "test",
      warn: () => {},
    });
    const rules = { config, own: OWN, backendType: "vxlan" };
    expect(whyInvalid(lease(9, { ip: "10.100.0.9" }), rules)).toBeUndefined();
    expect(whyInvalid(lease(9, { ip: "10.99.255.255" }), rules)).toContain(
      "inside the overlay",
    );
    expect(whyInvalid(lease(9, { ip: "10.0.0.255" }), rules)).toBeUndefined();
  });

  test("where Kubernetes chooses the subnets, any part of the network may be one", () => {
    const config = parseNetworkConfig('{"Network":"10.0.0.0/8","SubnetMax":"10.99.255.0"}', {
      source: "test",
      warn: () => {},
      allocation: "kubernetes",
    });
    const rules = { config, own: OWN, backendType: "vxlan", allocation: "kubernetes" } as const;
    for (const inside of ["10.0.0.0", "10.100.0.9", "10.255.255.255"]) {
      expect(whyInvalid(lease(9, { ip: inside }), rules)).toContain(
        "inside the overlay network 10.0.0.0/8",
      );
    }
    expect(whyInvalid(lease(9, { ipv4: "10.200.0.0/22" }), rules)).toBeUndefined();
    expect(whyInvalid(lease(9, { ipv4: "11.0.0.0/24" }), rules)).toContain("outside the network");
  });

  test("families that the network does not have are left out", () => {
    const config = parseNetworkConfig('{"Network":"10.5.0.0/16"}', {
      source: "test",
      warn: () => {},
    });
    const leases = new LeaseTable({
      config,
      own: OWN,
      backendType: "vxlan",
      onRejected: () => {},
      seed: 0.5,
    });
    leases.apply(snapshot(lease(2)));
    expect<unknown>([...leases.leases.values()][0]?.subnets).toEqual({ 4: "10.5.2.0/24" });
    leases.apply({ kind: "put", lease: lease(3, { ipv4: undefined }) });
    expect([...leases.rejected.values()]).toEqual([
      "it has no subnet of an enabled address family",
    ]);
  });

  test("a lease that holds what this host needs is rejected as long as the host needs it", () => {
    const { leases, reports } = table();
    const gateway = { address: "10.5.2.254" as IpAddress, what: "the gateway of this host" };
    const resolver = { address: "fc00:0:0:3::53" as IpAddress, what: "a name server" };
    expect(leases.setExcluded([gateway])).toEqual([]);
    expect(text(leases.apply(snapshot(lease(2), lease(3))))).toEqual([`put ${KEY(3)}`]);
    expect(reports).toEqual([
      `${KEY(2)}: its subnet 10.5.2.0/24 contains 10.5.2.254, the gateway of this host`,
    ]);
    leases.apply({ kind: "put", lease: lease(2, { modified: 7 }) });
    leases.apply(snapshot(lease(2, { modified: 7 }), lease(3)));
    expect([...leases.rejected.keys()]).toEqual([KEY(2)]);

    expect(text(leases.setExcluded([gateway, resolver]))).toEqual([`delete ${KEY(3)}`]);
    expect(text(leases.setExcluded([resolver]))).toEqual([`put ${KEY(2)}`]);
    expect(text(leases.apply({ kind: "delete", key: KEY(3) }))).toEqual([]);
    expect(leases.rejected.size).toBe(0);
    expect(leases.setExcluded([])).toEqual([]);
    expect([...leases.leases.keys()]).toEqual([KEY(2)]);
  });

  test("a lease rejected for an excluded address gives its subnet to a younger one", () => {
    const { leases } = table();
    const older = lease(2, { ipv6: "fc00:0:0:22::/64", created: 5 });
    leases.apply(snapshot(older, lease(2, { created: 6 })));
    const address = "fc00:0:0:22::1" as IpAddress;
    expect(text(leases.setExcluded([{ address, what: "the store" }]))).toEqual([
      `delete ${older.key}`,
      `put ${KEY(2)}`,
    ]);
    expect(text(leases.setExcluded([]))).toEqual([`delete ${KEY(2)}`, `put ${older.key}`]);
  });

  test("equals a recomputation from scratch after any sequence of events", () => {
    fc.assert(
      fc.property(fc.array(event(), { maxLength: 30 }), allocation(), (events, allocation) => {
        const { leases } = table(allocation);
        const store = new Map<LeaseKey, Lease>();
        const followed = new Map<LeaseKey, Lease>();
        for (const item of events) {
          keep(store, item);
          follow(followed, leases.apply(item));
          const expected = expectedLeases([...store.values()], allocation);
          expect(sortedContent(leases.leases.values())).toEqual(sortedContent(expected));
          expect(sortedContent(followed.values())).toEqual(sortedContent(expected));
          const aside = [...store.keys()].filter((key) =>
            key !== OWN.key && !leases.leases.has(key)
          );
          expect([...leases.rejected.keys()].sort()).toEqual(aside.sort());
        }
      }),
      { numRuns: 300 },
    );
  });

  test("a lease that is shut out and renewed stays so, and comes back as it was renewed", () => {
    const { leases, reports } = table();
    const older = lease(2, { ipv6: "fc00:0:0:22::/64", created: 5 });
    leases.apply(snapshot(older, lease(2, { created: 6 })));
    const renewed = lease(2, { created: 6, modified: 9, mac: "02:00:00:00:00:99" });
    expect(leases.apply({ kind: "put", lease: renewed })).toEqual([]);
    expect([...leases.leases.keys()]).toEqual([older.key]);
    expect(reports).toHaveLength(1);
    expect(unpackedChanges(leases.apply({ kind: "delete", key: older.key }))).toEqual([
      { kind: "delete", lease: older },
      { kind: "put", lease: renewed },
    ]);
  });

  test("a lease that was deleted and made again is as young as its new key", () => {
    const { leases } = table();
    const rival = lease(2, { ipv6: "fc00:0:0:22::/64", created: 5 });
    leases.apply(snapshot(lease(2, { created: 4 }), rival));
    expect([...leases.leases.keys()]).toEqual([KEY(2)]);
    expect(text(leases.apply(snapshot(rival, lease(2, { created: 6 }))))).toEqual([
      `delete ${KEY(2)}`,
      `put ${rival.key}`,
    ]);
  });

  test("of two leases of one revision, as after a restore, each node takes the same", () => {
    const [a, b] = [lease(2, { ipv6: "fc00:0:0:22::/64", created: 5 }), lease(2, { created: 5 })];
    const [first] = [a.key, b.key].sort();
    for (const order of [[a, b], [b, a]]) {
      const { leases } = table();
      for (const item of order) leases.apply({ kind: "put", lease: item });
      expect([...leases.leases.keys()]).toEqual([first as LeaseKey]);
    }
  });

  test("a corrected lease is not replaced by its old version by other exclusions", () => {
    const { leases } = table();
    const gateway = { address: "10.5.2.254" as IpAddress, what: "the gateway of this host" };
    leases.setExcluded([gateway]);
    leases.apply({ kind: "put", lease: lease(2) });
    leases.apply({ kind: "invalid", invalid: { key: KEY(2), reason: "its value is not JSON" } });
    expect(leases.setExcluded([])).toEqual([]);
    expect([...leases.rejected.values()]).toEqual(["its value is not JSON"]);
    leases.setExcluded([gateway]);
    leases.apply({ kind: "put", lease: lease(2) });
    leases.apply({ kind: "delete", key: KEY(2) });
    expect(leases.setExcluded([])).toEqual([]);
  });

  test("what this host needs is looked for only in leases that hold it or held it", () => {
    const { leases } = table();
    let reads = 0;
    const { attributes, ...rest } = lease(2, { type: "host-gw" });
    const foreign: Lease = {
      ...rest,
      get attributes() {
        reads++;
        return attributes;
      },
    };
    leases.apply(snapshot(foreign, lease(3)));
    const before = reads;
    leases.setExcluded([{ address: "10.5.3.254" as IpAddress, what: "a name server" }]);
    leases.setExcluded([]);
    expect(reads).toBe(before);
    expect([...leases.leases.keys()]).toEqual([KEY(3)]);
  });

  test("what is known already, and what a change does not concern, is not decided again", () => {
    using adding = spyOn(PrefixTrie.prototype, "add");
    using asking = spyOn(PrefixTrie.prototype, "overlapping");
    const { leases } = table();
    const asked = (change: () => void) => {
      asking.mockClear();
      change();
      return asking.mock.calls.length;
    };
    const four = (i: number, created: number) =>
      lease(2, { ipv6: `fc00:0:0:${20 + i}::/64`, created });
    // Each holds the same IPv4 subnet, and each lookup asks for both families.
    const rivals = [four(1, 10), four(2, 20), four(3, 30), four(4, 40)];
    expect(asked(() => leases.apply(snapshot(...rivals, lease(7))))).toBe(2 * 5);
    adding.mockClear();
    expect(asked(() => leases.apply(snapshot(...rivals, lease(7, { modified: 99 }))))).toBe(0);
    expect(adding).not.toHaveBeenCalled();
    const younger = { kind: "put", lease: four(5, 25) } as const;
    expect(asked(() => leases.apply(younger))).toBe(2);
    // One lookup for those that it leaves, and one for each that may hold the subnet now.
    expect(asked(() => leases.apply({ kind: "delete", key: four(1, 10).key }))).toBe(2 * 5);
    // It takes the subnet from a lease, so the younger ones are compared again.
    const oldest = { kind: "put", lease: four(6, 5) } as const;
    expect(asked(() => leases.apply(oldest))).toBe(2 * 5);
    expect([...leases.leases.keys()].sort()).toEqual([four(6, 5).key, KEY(7)].sort());
  });

  test("a reason is reported again after 65 536 others: memory is bounded", () => {
    const { leases, reports } = table();
    const reject = (n: number) =>
      leases.apply({ kind: "invalid", invalid: { key: KEY(2), reason: `reason ${n}` } });
    for (let n = 0; n < 65_536; n++) reject(n);
    reject(0);
    expect(reports).toHaveLength(65_536);
    reject(65_536);
    reject(0);
    expect(reports.slice(65_536)).toEqual([`${KEY(2)}: reason 65536`, `${KEY(2)}: reason 0`]);
  });

  test("10 000 leases are taken in once, however often they come", () => {
    const many = Array.from({ length: 10_000 }, (_, i) => ({
      key: `10.${i >> 8}.${i & 255}.0-24`,
      value: `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":` +
        `{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}`,
      created: BigInt(i + 1),
      changed: BigInt(i + 1),
    }));
    const config = parseNetworkConfig('{"Network":"10.0.0.0/8"}', {
      source: "test",
      warn: () => {},
    });
    const leases = new LeaseTable({
      config,
      own: { key: "none" as LeaseKey, subnets: {} },
      backendType: "vxlan",
      onRejected: () => {},
      seed: 0.5,
    });
    const decoded = () =>
      many.map(decodeLease).filter((item): item is Lease => !isInvalidLease(item));
    expect(leases.apply(snapshot(...decoded()))).toHaveLength(10_000);
    expect(leases.apply(snapshot(...decoded()))).toEqual([]);
  });
});

function allocation(): fc.Arbitrary<SubnetAllocation> {
  return fc.constantFrom("flanneld", "kubernetes");
}

/** Few subnets and revisions, so that leases collide. */
function event(): fc.Arbitrary<LeaseWatch> {
  const some = fc.record({
    ipv4: fc.constantFrom(
      undefined,
      "10.5.1.0/24",
      "10.5.2.0/24",
      "10.5.3.0/24",
      "10.5.2.0/23",
      "10.5.2.128/25",
    ),
    ipv6: fc.constantFrom(undefined, "fc00:0:0:1::/64", "fc00:0:0:2::/64", "fc00:0:0:3::/64"),
    ip: fc.constantFrom("192.0.2.1", "192.0.2.1", "192.0.2.2", "127.0.0.1"),
    created: fc.integer({ min: 1, max: 6 }),
    modified: fc.integer({ min: 1, max: 99 }),
  }).filter(({ ipv4, ipv6 }) => ipv4 !== undefined || ipv6 !== undefined)
    .map((change) => lease(0, change));
  return fc.oneof(
    { weight: 6, arbitrary: some.map((item): LeaseWatch => ({ kind: "put", lease: item })) },
    { weight: 3, arbitrary: some.map(({ key }): LeaseWatch => ({ kind: "delete", key })) },
    {
      weight: 1,
      arbitrary: fc.uniqueArray(some, { selector: ({ key }) => key, maxLength: 6 })
        .map((items) => snapshot(...items)),
    },
  );
}

function keep(store: Map<LeaseKey, Lease>, item: LeaseWatch): void {
  if (item.kind === "snapshot") store.clear();
  if (item.kind === "snapshot") item.leases.forEach((one) => store.set(one.key, one));
  if (item.kind === "put") store.set(item.lease.key, item.lease);
  if (item.kind === "delete") store.delete(item.key);
}

/** The leases, from the changes alone. */
function follow(known: Map<LeaseKey, Lease>, changes: LeaseChange[]): void {
  for (const change of changes) {
    const previous = change.kind === "put" ? change.previous : change.lease;
    expect(known.get(change.lease.key)?.attributes).toEqual(previous?.attributes as never);
    if (change.kind === "put") known.set(change.lease.key, change.lease);
    else known.delete(change.lease.key);
  }
}

/** The rule, without an index: from old to young, each that overlaps none taken before. */
function expectedLeases(all: Lease[], allocation: SubnetAllocation): Lease[] {
  const rules = { config: CONFIG, own: OWN, backendType: "vxlan", allocation };
  const valid = all.filter((item) => item.key !== OWN.key && whyInvalid(item, rules) === undefined);
  valid.sort((a, b) => Number(a.created - b.created) || (a.key < b.key ? -1 : 1));
  const taken: Lease[] = [];
  for (const item of valid) {
    if (!taken.some((other) => overlap(item.subnets, other.subnets))) taken.push(item);
  }
  return taken;
}

function overlap(a: PerFamily<Prefix>, b: PerFamily<Prefix>): boolean {
  const both = mapFamilies(a, (prefix, family) => {
    const other = b[family];
    return other !== undefined && prefixesOverlap(prefix, other);
  });
  return Boolean(both[4] || both[6]);
}

function sortedContent(leases: Iterable<Lease>): unknown[] {
  return [...leases].map(({ key, attributes }) => ({ key, attributes }))
    .sort((a, b) => a.key < b.key ? -1 : 1);
}
