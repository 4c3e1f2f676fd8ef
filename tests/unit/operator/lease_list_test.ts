/** The list of leases: what is ignored, the order, the table, the JSON. */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseNetworkConfig } from "../../../src/config/network_config.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { decodeLease, isInvalidLease } from "../../../src/subnet/lease_codec.ts";
import {
  ignoredLeases,
  leaseBackendType,
  type LeaseList,
  type ListedLease,
  readConfig,
  sortedLeases,
} from "../../../src/operator/lease_list.ts";
import { leaseListJson } from "../../../src/operator/lease_list_json.ts";
import { leaseListText, timeLeft } from "../../../src/operator/lease_list_text.ts";
import { expectGolden } from "../../support/golden.ts";

const DUAL = configOf({
  Network: "10.5.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fc00::/48",
});

function configOf(value: object) {
  return parseNetworkConfig(JSON.stringify(value), { source: "test", warn: () => {} });
}

function lease(key: string, value: object, created = 1n): Lease {
  const decoded = decodeLease({ key, value: JSON.stringify(value), created, changed: created });
  if (isInvalidLease(decoded)) throw new Error(decoded.reason);
  return decoded;
}

const vxlan = (address: string) => ({ PublicIP: address, BackendType: "vxlan" });

describe("ignored leases", () => {
  const config = configOf({ Network: "10.5.0.0/16" });
  const reasons = (...leases: Parameters<typeof ignoredLeases>[0]) =>
    Object.fromEntries(ignoredLeases(leases, config, "flanneld"));

  test("are those that a daemon rejects, with its reasons", () => {
    expect(reasons(
      lease("10.5.1.0-24", vxlan("192.0.2.1")),
      lease("10.5.2.0-24", vxlan("192.0.2.2"), 2n),
      lease("10.6.1.0-24", vxlan("192.0.2.3")),
      lease("10.5.2.0-25", vxlan("192.0.2.4")),
      lease("10.5.3.0-24", { BackendType: "vxlan" }),
      { key: "oops" as LeaseKey, reason: "its key does not name a subnet" },
    )).toEqual({
      "10.6.1.0-24": "its subnet 10.6.1.0/24 is outside the network 10.5.0.0/16",
      "10.5.2.0-25": "its subnet 10.5.2.0/25 is not a /24, the configured length",
      "10.5.3.0-24": "it has no public IPv4 address",
      "oops": "its key does not name a subnet",
    });
  });

  test("overlap an older one", () => {
    const families = DUAL;
    const older = lease("10.5.1.0-24&fc00:0:0:1::-64", {
      ...vxlan("192.0.2.1"),
      PublicIPv6: "2001:db8::1",
    });
    const younger = lease("10.5.2.0-24&fc00:0:0:1::-64", {
      ...vxlan("192.0.2.2"),
      PublicIPv6: "2001:db8::2",
    }, 2n);
    expect([...ignoredLeases([younger, older], families, "flanneld")]).toEqual([
      [younger.key, `its subnet overlaps that of the older lease ${older.key}`],
    ]);
  });

  test("name the network's backend, not this node's", () => {
    const host = { PublicIP: "192.0.2.1", BackendType: "host-gw" };
    expect(reasons(lease("10.5.1.0-24", host))).toEqual({
      "10.5.1.0-24": `its backend is "host-gw", the network's is "vxlan"`,
    });
  });

  test("are reservations that no node has taken, unless none ever could", () => {
    expect(reasons(
      lease("10.5.1.0-24", { PublicIP: "192.0.2.1" }),
      lease("10.6.1.0-24", { PublicIP: "192.0.2.1" }),
    )).toEqual({
      "10.5.1.0-24": "no node has taken it yet",
      "10.6.1.0-24": "its subnet 10.6.1.0/24 is outside the network 10.5.0.0/16",
    });
  });

  test("an untaken reservation does not exclude a younger lease", () => {
    expect(reasons(
      lease("10.5.1.0-24", { PublicIP: "192.0.2.1" }),
      lease("10.5.1.0-24&fc00::-64", vxlan("192.0.2.2"), 2n),
    )).toEqual({ "10.5.1.0-24": "no node has taken it yet" });
  });
});

test("a backend is named in leases as its module names it", async () => {
  for (const type of ["alloc", "host-gw", "ipip", "udp", "vxlan", "wireguard", "tencent-vpc"]) {
    const config = configOf({ Network: "10.5.0.0/16", Backend: { Type: type } });
    const folder = type.replace("-", "_");
    const file = type === "udp" ? "udp_setup" : folder;
    const path = new URL(`../../../src/backend/${folder}/${file}.ts`, import.meta.url).pathname;
    const isUnnamed = (await Bun.file(path).text()).includes('backendType: ""');
    expect(leaseBackendType(config)).toBe(isUnnamed ? "" : type);
    expect(BACKENDS.find(type)?.isUnnamedInLeases ?? false).toBe(isUnnamed);
  }
});

test("a configuration that is missing or invalid is a reason", () => {
  const source = "/coreos.com/network/config";
  const read = (text: string | undefined) => readConfig(text, { source, allocation: "flanneld" });
  expect(read(undefined).problem).toBe("there is no /coreos.com/network/config");
  expect(read("{").problem).toContain("/coreos.com/network/config is not JSON");
  expect(read('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlam"}}').problem)
    .toContain('unknown Backend Type "vxlam"');
  expect(read('{"Network":"10.5.0.0/16"}')).toMatchObject({ problem: undefined });
});

function listed(key: string, fields: Partial<ListedLease> = {}): ListedLease {
  const decoded = decodeLease({ key, value: "{}", created: 1n, changed: 1n });
  return {
    key: key as LeaseKey,
    subnets: isInvalidLease(decoded) ? {} : decoded.subnets,
    publicAddresses: {},
    backend: "vxlan",
    kind: "lease",
    remainingSeconds: 86_300,
    host: undefined,
    alive: false,
    ignored: undefined,
    ...fields,
  };
}

const addresses = (ipv4: string, ipv6?: string) =>
  ({ 4: ipv4, ...(ipv6 && { 6: ipv6 }) }) as ListedLease["publicAddresses"];

const LIST: LeaseList = {
  store: "etcd at http://192.0.2.1:2379",
  notes: ["hosts are unknown"],
  leases: [
    listed("10.5.7.0-24&fc00:0:0:7::-64", {
      publicAddresses: addresses("192.0.2.7", "2001:db8::7"),
      backend: "",
      kind: "reservation",
      remainingSeconds: undefined,
      ignored: "no node has taken it yet",
    }),
    listed("10.5.52.0-24&fc00:0:0:34::-64", {
      publicAddresses: addresses("198.51.100.211", "2001:db8:100:200::211"),
      backend: "wireguard",
      host: "node-with-a-long-name.rack12.example.org",
      alive: true,
    }),
    listed("10.5.52.0-25", {
      publicAddresses: addresses("192.0.2.9"),
      remainingSeconds: 59,
      ignored: "its subnet overlaps that of the older lease 10.5.52.0-24&fc00:0:0:34::-64",
    }),
    listed("oo\nps", { backend: undefined, ignored: "its key does not name a subnet" }),
  ],
};

describe("the table", () => {
  test.each([80, 160])("fits into %d columns", (columns) => {
    const text = leaseListText(LIST, columns);
    expectGolden(`leases_${columns}`, text);
    expect(text.split("\n").filter((line) => line.length > columns)).toEqual([]);
  });

  test("has one line for each lease where there is no terminal", () => {
    expect(leaseListText(LIST).trimEnd().split("\n")).toHaveLength(LIST.leases.length + 1);
  });

  test("of a plain IPv4 network has one line for each lease at 80 columns, too", () => {
    const leases = [listed("10.5.1.0-24", { publicAddresses: addresses("192.0.2.1"), host: "n1" })];
    expect(leaseListText({ ...LIST, leases }, 80)).toBe(
      "SUBNET       ADDRESS    BACKEND  KIND   LEFT    HOST\n" +
        "10.5.1.0/24  192.0.2.1  vxlan    lease  23h58m  n1\n",
    );
  });

  test("is only a header without leases", () => {
    expect(leaseListText({ ...LIST, leases: [] }, 80)).toBe(
      "SUBNET  ADDRESS  BACKEND  KIND  LEFT  HOST\n",
    );
  });

  test("shows no control characters of a key, a host or a reason", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.constantFrom(40, 80, 400), (text, n) => {
        const leases = [
          listed("10.5.1.0-24", { key: text as LeaseKey, host: text, ignored: text }),
        ];
        // deno-lint-ignore no-control-regex
        return !/[\x00-\x09\x0b-\x1f\x7f\u202e]/.test(leaseListText({ ...LIST, leases }, n));
      }),
    );
  });
});

test.each([[0, "0s"], [59, "59s"], [60, "1m"], [3599, "59m"], [86_399, "23h59m"]])(
  "%d s are %s",
  (seconds, text) => expect(timeLeft(seconds)).toBe(text),
);

test("the order is that of the subnets, as numbers", () => {
  const keys = ["oops", "0.0.0.0-0&fc00::-64", "10.5.100.0-24", "10.5.9.0-24", "10.5.9.0-25"];
  const sorted = sortedLeases(keys.map((key) => listed(key)));
  expect(sorted.map(({ key }) => key as string)).toEqual([
    "10.5.9.0-24",
    "10.5.9.0-25",
    "10.5.100.0-24",
    "0.0.0.0-0&fc00::-64",
    "oops",
  ]);
});

test("the JSON document has every member of every lease", () => {
  const value = JSON.parse(leaseListJson(LIST));
  expect(value).toMatchObject({ version: 1, store: LIST.store, notes: LIST.notes });
  expect(value.leases).toHaveLength(4);
  expect(value.leases[1]).toEqual({
    key: "10.5.52.0-24&fc00:0:0:34::-64",
    subnet: "10.5.52.0/24",
    ipv6Subnet: "fc00:0:0:34::/64",
    publicIP: "198.51.100.211",
    publicIPv6: "2001:db8:100:200::211",
    backend: "wireguard",
    kind: "lease",
    remainingSeconds: 86_300,
    host: "node-with-a-long-name.rack12.example.org",
    alive: true,
    ignored: null,
  });
  const members = Object.keys(value.leases[1]);
  for (const one of value.leases) expect(Object.keys(one)).toEqual(members);
});
