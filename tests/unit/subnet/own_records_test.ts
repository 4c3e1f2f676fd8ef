import { describe, expect, test } from "bun:test";
import type { PerFamily } from "../../../src/addr/family.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import type { LeaseRecord } from "../../../src/subnet/etcd/lease_records.ts";
import { type OwnRecord, preference, whyUnfit } from "../../../src/subnet/etcd/own_records.ts";
import type { LeaseKey } from "../../../src/subnet/lease.ts";
import { attributes, deviceIdentity, request } from "../../etcd/lease_store_fixture.ts";
import { config } from "../../support/sample_network.ts";

const IPV4 = config("vxlan", [4]);
const MAC = "02:00:00:00:00:01";
const OTHER_MAC = "02:00:00:00:00:99";
const A = { 4: "192.0.2.1" };
const IN_FILE = "10.5.7.0/24";
const REQUEST = request(IPV4, A, { identity: deviceIdentity(MAC), previous: { 4: IN_FILE } });

function record(
  subnet: string,
  { mac = OTHER_MAC, etcdLease = 5n, revision = 10n, last = 1 } = {},
): LeaseRecord {
  const subnets = { 4: subnet as Prefix } as PerFamily<Prefix>;
  const key = subnet.replace("/", "-") as LeaseKey;
  const found = attributes({ 4: `192.0.2.${last}` }, mac);
  return {
    lease: { key, subnets, attributes: found, created: revision, changed: revision },
    subnets,
    value: "",
    etcdLease,
    createRevision: revision,
    modRevision: revision,
  };
}

/** A record that has this node's address. */
function own(one: LeaseRecord): OwnRecord {
  return { record: one, guards: [] };
}

/** A record that has this node's identity and another address. */
function previous(one: LeaseRecord): OwnRecord {
  const address = "192.0.2.2" as IpAddress;
  return { record: one, guards: [], match: `VtepMAC ${MAC}`, address };
}

describe("of a node's leases", () => {
  const reservation = { etcdLease: 0n };
  const identified = { mac: MAC };
  const elsewhere = { mac: MAC, last: 2 };

  test.each<[string, OwnRecord[]]>([
    [
      "a reservation for its address",
      [own(record("10.5.9.0/24", reservation)), own(record(IN_FILE, identified))],
    ],
    [
      "one with its identity, whatever the subnet file says",
      [own(record("10.5.9.0/24", identified)), own(record(IN_FILE))],
    ],
    [
      "one with its identity and another address",
      [previous(record("10.5.9.0/24", elsewhere)), own(record(IN_FILE))],
    ],
    ["one in the subnet file", [own(record(IN_FILE)), own(record("10.5.9.0/24"))]],
    [
      "one with its address before one with another, if they are alike in all else",
      [own(record("10.5.9.0/24", identified)), previous(record("10.5.8.0/24", elsewhere))],
    ],
    [
      "one with its address before a reservation for another",
      [
        own(record("10.5.9.0/24", identified)),
        previous(record("10.5.8.0/24", { ...elsewhere, ...reservation })),
      ],
    ],
  ])("%s is preferred", (_which, [better, worse]) => {
    const [first, second] = [better, worse].map((one) => preference(one as OwnRecord, REQUEST));
    expect(first).toBeLessThan(second as number);
  });
});

describe("a node cannot keep a lease", () => {
  test("that does not fit the configuration", () => {
    expect(whyUnfit(record("10.5.9.0/25"), [], REQUEST))
      .toBe("does not fit the network configuration");
  });

  test("that overlaps an older one, unless the nodes ignore that", () => {
    const one = record("10.5.9.0/24");
    const older = record("10.5.9.0/24", { revision: 9n });
    expect(whyUnfit(one, [record("10.5.8.0/24", { revision: 9n }), older], REQUEST))
      .toBe("overlaps an older lease");
    expect(whyUnfit(one, [record("10.5.9.0/24", { revision: 11n })], REQUEST)).toBeUndefined();
    expect(whyUnfit(one, [record("10.5.0.0/20", { revision: 9n })], REQUEST)).toBeUndefined();
  });

  test("that contains an address of this host", () => {
    const at = (text: string) => ({
      ...REQUEST,
      excluded: [{ address: text as IpAddress, what: "the gateway of this host" }],
    });
    expect(whyUnfit(record("10.5.9.0/24"), [], at("10.5.9.7")))
      .toBe("contains an address that this host uses");
    expect(whyUnfit(record("10.5.9.0/24"), [], at("10.5.8.7"))).toBeUndefined();
  });
});
