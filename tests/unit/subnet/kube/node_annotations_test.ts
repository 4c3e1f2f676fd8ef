/** The annotations of each backend, byte for byte as Go flannel's, and whatever others write. */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { PerFamily } from "../../../../src/addr/family.ts";
import { BACKENDS } from "../../../../src/backend/backend_registry.ts";
import { ConfigError } from "../../../../src/config/config_error.ts";
import type { KubeNodeMetadata } from "../../../../src/kube/kube_api.ts";
import type { Lease, LeaseAttributes } from "../../../../src/subnet/lease.ts";
import { isInvalidLease, LEASE_LIMITS } from "../../../../src/subnet/lease_codec.ts";
import {
  annotationNames,
  decodeNodeLease,
  decodeOwnAttributes,
  differingAnnotations,
  encodeAnnotations,
  prescribedAddressesOf,
} from "../../../../src/subnet/kube/node_annotations.ts";
import { NodeRecords } from "../../../../src/subnet/kube/node_records.ts";
import { annotationsOf, DUAL as DUAL_NETWORK, NAMES } from "../../../support/kube_store.ts";

const V4 = { 4: "192.0.2.1" };
const V6 = { 6: "2001:db8::1" };
const DUAL = { ...V4, ...V6 };
const VTEP = { 4: { VNI: 1, VtepMAC: "de:36:6b:04:26:1b" } };
const VTEP6 = { 6: { VNI: 1, VtepMAC: "02:aa:00:00:00:06" } };
const KEY = "Dv5D5ZhrXcw0mXvBS2qXHz6Bx4v6iQGQ/1b2+9ZzU0E=";
const WG = { 4: { PublicKey: KEY, Port: 51820 } };
const WG6 = { 6: { PublicKey: KEY, Port: 51821 } };

const attributes = (
  backendType: string,
  publicAddresses: PerFamily<string>,
  backendData: PerFamily<unknown> = {},
) => ({ backendType, publicAddresses, backendData } as LeaseAttributes);

/** The names and the format of a backend's annotations. */
function formatOf(type: string) {
  return { names: NAMES, format: BACKENDS.find(type)?.annotations ?? {}, config: DUAL_NETWORK };
}

/** Without the prefix. */
const encoded = (given: LeaseAttributes, present: Record<string, string> = {}) =>
  Object.fromEntries(
    Object.entries(
      encodeAnnotations(given, present, formatOf(given.backendType)).annotations,
    )
      .map(([name, value]) => [name.replace("flannel.alpha.coreos.com/", ""), value]),
  );

describe("what a node publishes", () => {
  const MANAGED = { "kube-subnet-manager": "true" };
  const VTEP_TEXT = '{"VNI":1,"VtepMAC":"de:36:6b:04:26:1b"}';
  const VTEP6_TEXT = '{"VNI":1,"VtepMAC":"02:aa:00:00:00:06"}';
  const WG_TEXT = `{"PublicKey":"${KEY}","Port":51820}`;
  const WG6_TEXT = `{"PublicKey":"${KEY}","Port":51821}`;
  const PUBLIC = { "public-ip": "192.0.2.1" };
  const PUBLIC6 = { "public-ipv6": "2001:db8::1" };
  /** As Go flannel writes it where IPv4 is not enabled. */
  const NO_IPV4 = { "backend-data": "null", "public-ip": "0.0.0.0" };

  test.each<[string, LeaseAttributes, Record<string, string>]>([
    ["vxlan, IPv4", attributes("vxlan", V4, VTEP), {
      "backend-type": "vxlan",
      "backend-data": VTEP_TEXT,
      ...PUBLIC,
    }],
    ["vxlan, dual stack", attributes("vxlan", DUAL, { ...VTEP, ...VTEP6 }), {
      "backend-type": "vxlan",
      "backend-data": VTEP_TEXT,
      ...PUBLIC,
      "backend-v6-data": VTEP6_TEXT,
      ...PUBLIC6,
    }],
    ["vxlan, IPv6", attributes("vxlan", V6, VTEP6), {
      "backend-type": "vxlan",
      "backend-v6-data": VTEP6_TEXT,
      ...PUBLIC6,
    }],
    ["host-gw, IPv4", attributes("host-gw", V4), {
      "backend-type": "host-gw",
      "backend-data": "null",
      ...PUBLIC,
    }],
    ["host-gw, dual stack", attributes("host-gw", DUAL), {
      "backend-type": "host-gw",
      "backend-data": "null",
      ...PUBLIC,
      "backend-v6-data": "null",
      ...PUBLIC6,
    }],
    ["host-gw, IPv6", attributes("host-gw", V6), {
      "backend-type": "host-gw",
      ...NO_IPV4,
      "backend-v6-data": "null",
      ...PUBLIC6,
    }],
    ["wireguard, IPv4", attributes("wireguard", V4, WG), {
      "backend-type": "wireguard",
      "backend-data": WG_TEXT,
      ...PUBLIC,
    }],
    ["wireguard, dual stack", attributes("wireguard", DUAL, { ...WG, ...WG6 }), {
      "backend-type": "wireguard",
      "backend-data": WG_TEXT,
      ...PUBLIC,
      "backend-v6-data": WG6_TEXT,
      ...PUBLIC6,
    }],
    ["wireguard, IPv6", attributes("wireguard", V6, WG6), {
      "backend-type": "wireguard",
      ...NO_IPV4,
      "backend-v6-data": WG6_TEXT,
      ...PUBLIC6,
    }],
    ["ipip", attributes("ipip", V4), {
      "backend-type": "ipip",
      "backend-data": "null",
      ...PUBLIC,
    }],
    ["ipsec", attributes("ipsec", V4), {
      "backend-type": "ipsec",
      "backend-data": "null",
      ...PUBLIC,
    }],
    ["udp, alloc and tencent-vpc", attributes("", V4), {
      "backend-type": "",
      "backend-data": "null",
      ...PUBLIC,
    }],
    ["extension without a PreStartupCommand", attributes("extension", V4), {
      "backend-type": "extension",
      "backend-data": "",
      ...PUBLIC,
    }],
    ["extension, dual stack", attributes("extension", DUAL, { 4: 'a "b" <c>\n' }), {
      "backend-type": "extension",
      "backend-data": '"a \\"b\\" \\u003cc\\u003e\\n"',
      ...PUBLIC,
      "backend-v6-data": "null",
      ...PUBLIC6,
    }],
    ["extension, IPv6", attributes("extension", V6, { 4: "x" }), {
      "backend-type": "extension",
      "backend-data": '"x"',
      "public-ip": "0.0.0.0",
      "backend-v6-data": "null",
      ...PUBLIC6,
    }],
  ])("%s", (_, given, expected) => {
    expect(encoded(given)).toEqual({ ...MANAGED, ...expected });
  });

  test("has no address for IPv6 with alloc, whose nodes exchange no packets", () => {
    const { annotations } = encodeAnnotations(attributes("", DUAL), {}, formatOf("alloc"));
    expect(Object.keys(annotations)).not.toContain(NAMES.publicAddress[6]);
    expect(Object.keys(annotations)).toContain(NAMES.publicAddress[4]);
  });

  test("has the address of the overwrite annotation, as it is written there", () => {
    const present = {
      [NAMES.overwrite[4]]: "198.51.100.1",
      [NAMES.overwrite[6]]: "2001:DB8::2",
    };
    const given = attributes("vxlan", DUAL, { ...VTEP, ...VTEP6 });
    expect(encoded(given, present)).toMatchObject({
      "public-ip": "198.51.100.1",
      "public-ipv6": "2001:DB8::2",
    });
    expect(encodeAnnotations(given, present, formatOf("vxlan")).publicAddresses)
      .toEqual({ 4: "198.51.100.1", 6: "2001:db8::2" } as never);
  });

  test.each(["", "2001:db8::2", "198.51.100.1 ", "nat"])(
    "has its own address where the overwrite annotation is %p",
    (text) => {
      const result = encodeAnnotations(
        attributes("vxlan", V4, VTEP),
        { [NAMES.overwrite[4]]: text },
        formatOf("vxlan"),
      );
      expect(result.annotations[NAMES.publicAddress[4]]).toBe("192.0.2.1");
      expect(result.problems).toHaveLength(text === "" ? 0 : 1);
    },
  );

  test.each(
    [
      [4, "127.0.0.1", "a loopback address"],
      [4, "0.0.0.0", "an unspecified address"],
      [4, "224.0.0.7", "a multicast address"],
      [4, "10.244.7.1", "inside the overlay network 10.244.0.0/16"],
      [6, "::1", "a loopback address"],
      [6, "fd00:10:0:7::1", "inside the overlay network fd00:10::/48"],
    ] as const,
  )("has its own IPv%p address where no node can be reached at %p, %s", (family, text, defect) => {
    const name = NAMES.overwrite[family];
    const given = attributes("vxlan", DUAL, { ...VTEP, ...VTEP6 });
    const result = encodeAnnotations(given, { [name]: text }, formatOf("vxlan"));
    expect(result.annotations[NAMES.publicAddress[family]]).toBe(DUAL[family]);
    expect(result.problems).toEqual([
      `annotation ${name} is "${text}", ${defect}; publishing this node's own address until it ` +
      "is corrected or removed",
    ]);
  });

  test("is written where it differs", () => {
    const wanted = { a: "1", b: "2", c: "3" };
    expect(differingAnnotations(wanted, { a: "1", b: "x", d: "4" })).toEqual({ b: "2", c: "3" });
    expect(differingAnnotations({ constructor: "1" }, {})).toEqual({ constructor: "1" });
  });
});

describe("the prefix", () => {
  test.each([
    ["flannel.alpha.coreos.com", "flannel.alpha.coreos.com/"],
    ["flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/"],
    ["example.com/pods", "example.com/pods-"],
    ["example.com/pods-", "example.com/pods-"],
    ["ex_ample.com/--", "ex_ample.com/--"],
    ["a.example.com", "a.example.com/"],
    // Not anchored at its start, as in Go flannel.
    ["Example.b.com", "Example.b.com/"],
  ])("%p starts names with %p", (prefix, start) => {
    const names = annotationNames(prefix);
    expect(names.managed).toBe(`${start}kube-subnet-manager`);
    expect(names.backendData[6]).toBe(`${start}backend-v6-data`);
    expect(names.overwrite).toEqual({
      4: `${start}public-ip-overwrite`,
      6: `${start}public-ipv6-overwrite`,
    });
    expect(names.prescribed).toEqual({
      4: `${start}node-public-ip`,
      6: `${start}node-public-ipv6`,
    });
  });

  test.each([
    ["a.b/c/d", "contains more than one slash"],
    ["", "is not in the format fqdn/[0-9a-z-_]*"],
    ["flannel", "is not in the format fqdn/[0-9a-z-_]*"],
    ["a.b/C", "is not in the format fqdn/[0-9a-z-_]*"],
    ["a.b/-", "is not in the format fqdn/[0-9a-z-_]*"],
    ["a.b/c.d", "is not in the format fqdn/[0-9a-z-_]*"],
  ])("%p is refused", (prefix, reason) => {
    expect(() => annotationNames(prefix)).toThrow(ConfigError);
    expect(() => annotationNames(prefix)).toThrow(reason);
  });
});

function node(
  annotations: Record<string, string>,
  fields: Partial<KubeNodeMetadata> = {},
): KubeNodeMetadata {
  return {
    name: "n2",
    uid: "u",
    resourceVersion: "7",
    createdMs: 5000,
    annotations,
    managedFields: [],
    ...fields,
  };
}

const RULES = { ...formatOf("vxlan"), families: { 4: true } };
const DUAL_RULES = { ...RULES, families: { 4: true, 6: true } };
const decoded = (
  annotations: Record<string, string>,
  podCidrs: readonly string[] = ["10.244.2.0/24"],
  rules = RULES as typeof DUAL_RULES | typeof RULES,
) => decodeNodeLease(node(annotations), podCidrs, rules);

describe("the addresses that an operator prescribes", () => {
  const prescribed = (texts: PerFamily<string>) =>
    prescribedAddressesOf(
      node(Object.fromEntries(
        Object.entries(texts).map((
          [family, text],
        ) => [NAMES.prescribed[family as unknown as 4 | 6], text]),
      )),
      DUAL_RULES,
    );

  test("are those of the network's families, and may be missing or empty", () => {
    const source = (name: string) => `annotation ${name} of node "n2"`;
    expect(prescribed({ 4: "192.0.2.7", 6: "2001:db8::7" }) as unknown).toEqual({
      4: { address: "192.0.2.7", source: source(NAMES.prescribed[4]) },
      6: { address: "2001:db8::7", source: source(NAMES.prescribed[6]) },
    });
    expect(prescribed({})).toEqual({});
    expect(prescribed({ 4: "", 6: "" })).toEqual({});
  });

  test.each<[PerFamily<string>, string]>([
    [{ 4: "nat" }, `${NAMES.prescribed[4]} of node "n2" is "nat", not an IPv4 address`],
    [{ 4: "fd00::1" }, `${NAMES.prescribed[4]} of node "n2" is "fd00::1", not an IPv4 address`],
    [{ 6: "192.0.2.7" }, `${NAMES.prescribed[6]} of node "n2" is "192.0.2.7", not an IPv6 address`],
  ])("%p are refused", (texts, message) => {
    expect(() => prescribed(texts)).toThrow(ConfigError);
    expect(() => prescribed(texts)).toThrow(message);
  });
});

describe("what this node published before", () => {
  test("is left out where it cannot be read", () => {
    const annotations = {
      [NAMES.backendType]: "vxlan",
      [NAMES.publicAddress[4]]: "nowhere",
      [NAMES.publicAddress[6]]: "2001:db8::1",
      [NAMES.backendData[4]]: "{",
      [NAMES.backendData[6]]: '{"VNI":1}',
    };
    expect(decodeOwnAttributes(node(annotations), DUAL_RULES))
      .toEqual(attributes("vxlan", V6, { 6: { VNI: 1 } }));
    expect(decodeOwnAttributes(node({}), DUAL_RULES)).toEqual(attributes("", {}));
  });
});

describe("another node", () => {
  test("of Go flannel is a lease", () => {
    const managedFields = [
      { manager: "kubelet", timeMs: 90_000, annotations: ["volumes.kubernetes.io/x"] },
      { manager: "flanneld", timeMs: 7000, annotations: ["other", NAMES.backendData[4]] },
      { manager: "kubectl", timeMs: 6000, annotations: [NAMES.managed] },
      { manager: "old", timeMs: undefined, annotations: [NAMES.managed] },
    ];
    const annotations = annotationsOf(2, "02:00:00:00:00:02");
    expect(decodeNodeLease(node(annotations, { managedFields }), ["10.244.2.7/24"], RULES))
      .toEqual({
        key: "node/n2",
        subnets: { 4: "10.244.2.0/24" },
        attributes: attributes("vxlan", { 4: "192.0.0.2" }, {
          4: { VNI: 1, VtepMAC: "02:00:00:00:00:02" },
        }),
        created: 5000n,
        changed: 7000n,
      } as unknown as Lease);
  });

  test("that has more families than the network has those of the network", () => {
    const annotations = { ...annotationsOf(2), [NAMES.publicAddress[6]]: "garbage" };
    const lease = decoded(annotations, ["fd00::/64", "10.244.2.0/24"]) as Lease;
    expect(lease.attributes.publicAddresses).toEqual({ 4: "192.0.0.2" } as never);
  });

  test.each<[string, Record<string, string | undefined>, readonly string[], string]>([
    [
      "no public address",
      { [NAMES.publicAddress[4]]: undefined },
      ["10.244.2.0/24"],
      "it has no annotation flannel.alpha.coreos.com/public-ip",
    ],
    [
      "a public address of the other family",
      { [NAMES.publicAddress[4]]: "fd00::1" },
      ["10.244.2.0/24"],
      'its annotation flannel.alpha.coreos.com/public-ip is "fd00::1", not an IPv4 address',
    ],
    [
      "data that is not JSON",
      { [NAMES.backendData[4]]: "{" },
      ["10.244.2.0/24"],
      "its annotation flannel.alpha.coreos.com/backend-data is not JSON",
    ],
    [
      "too much data",
      { [NAMES.backendData[4]]: `"${"x".repeat(LEASE_LIMITS.maxBytes)}"` },
      ["10.244.2.0/24"],
      `its annotation flannel.alpha.coreos.com/backend-data has ${
        LEASE_LIMITS.maxBytes + 2
      } bytes, more than ${LEASE_LIMITS.maxBytes}`,
    ],
    [
      "a pod CIDR that is not a prefix",
      {},
      ["10.244.2.0"],
      'its pod CIDR "10.244.2.0" is not an IP prefix',
    ],
    [
      "two pod CIDRs of one family",
      {},
      ["10.244.2.0/24", "10.244.3.0/24"],
      "its pod CIDRs 10.244.2.0/24 and 10.244.3.0/24 are both IPv4; a node has one of each " +
      "family at most",
    ],
    [
      "a pod CIDR of the other family only",
      {},
      ["fd00::/64"],
      'it has no IPv4 pod CIDR: its spec.podCIDRs is "fd00::/64"',
    ],
  ])("with %s is ignored", (_, change, podCidrs, reason) => {
    const annotations = Object.fromEntries(
      Object.entries({ ...annotationsOf(2), ...change }).filter(([, value]) => value !== undefined),
    ) as Record<string, string>;
    expect(decoded(annotations, podCidrs)).toEqual({ key: "node/n2", reason } as never);
  });

  test("needs every family of the network", () => {
    const both = ["10.244.2.0/24", "fd00:10::/64"];
    expect(decoded(annotationsOf(2), both, DUAL_RULES)).toMatchObject({
      reason: "it has no annotation flannel.alpha.coreos.com/public-ipv6",
    });
    const annotations = { ...annotationsOf(2), [NAMES.publicAddress[6]]: "2001:db8::2" };
    expect(decoded(annotations, both, DUAL_RULES)).toMatchObject({
      subnets: { 4: "10.244.2.0/24", 6: "fd00:10::/64" },
    });
    expect(decoded(annotations, ["10.244.2.0/24"], DUAL_RULES)).toMatchObject({
      reason: 'it has no IPv6 pod CIDR: its spec.podCIDRs is "10.244.2.0/24"',
    });
  });

  test.each(["null", ""])("with the data %p has none", (text) => {
    const annotations = { ...annotationsOf(2), [NAMES.backendData[4]]: text };
    expect((decoded(annotations) as Lease).attributes.backendData).toEqual({});
  });

  test("of the extension backend has its data without IPv4, too", () => {
    const rules = { ...formatOf("extension"), families: { 6: true } };
    const annotations = encodeAnnotations(attributes("extension", V6, { 4: "x" }), {}, rules);
    const lease = decodeNodeLease(node({ ...annotations.annotations }), ["fd00:10::/64"], rules);
    expect((lease as Lease).attributes.backendData).toEqual({ 4: "x" });
    const own = decodeOwnAttributes(node({ ...annotations.annotations }), rules);
    expect(own).toEqual(attributes("extension", V6));
  });
});

describe("whatever is in annotations", () => {
  const value = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.ipV4(),
    fc.ipV6(),
    fc.constantFrom("true", "null", "", "[[[[", "\u0000", "__proto__", "192.0.2.1", "vxlan"),
  );
  const names = [
    NAMES.managed,
    NAMES.backendType,
    ...Object.values(NAMES.backendData),
    ...Object.values(NAMES.publicAddress),
    ...Object.values(NAMES.overwrite),
    "__proto__",
    "constructor",
  ];
  const annotations = fc.dictionary(fc.constantFrom(...names), value);
  const podCidrs = fc.array(fc.oneof(value, fc.constantFrom("10.1.0.0/24", "fd00::/64", "::/0")), {
    maxLength: 3,
  });

  test("a node is a lease, or is ignored for a reason, but nothing throws", () => {
    fc.assert(
      fc.property(annotations, podCidrs, fc.boolean(), (given, cidrs, isDual) => {
        const rules = isDual ? DUAL_RULES : RULES;
        const lease = decodeNodeLease(node(given), cidrs, rules);
        if (isInvalidLease(lease)) {
          expect(lease.fault).toBe(undefined);
          expect(lease.reason).not.toBe("");
        } else {
          expect(Object.keys(lease.attributes.publicAddresses)).toHaveLength(isDual ? 2 : 1);
        }
        decodeOwnAttributes(node(given), rules);
        const own = encodeAnnotations(attributes("vxlan", V4, VTEP), given, rules);
        expect(own.publicAddresses[4]).toBeDefined();
      }),
      { numRuns: 5000 },
    );
  });

  test("what is published is read as it was", () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.ipV4(),
        fc.constantFrom("wireguard", "x"),
        (data, ip, type) => {
          const given = attributes(type, { 4: ip }, data === null ? {} : { 4: data });
          const { annotations } = encodeAnnotations(given, {}, formatOf(type));
          const lease = decoded({ ...annotations });
          if (isInvalidLease(lease)) return expect(lease.reason).toContain("levels deep");
          expect(JSON.stringify(lease.attributes)).toBe(JSON.stringify({
            publicAddresses: { 4: ip },
            backendType: type,
            backendData: data === null ? {} : { 4: data },
          }));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("changes taken one by one are those between two snapshots", () => {
    const change = fc.record({
      name: fc.constantFrom("a", "b", "c"),
      uid: fc.constantFrom("1", "2"),
      annotations: fc.oneof(fc.constant(annotationsOf(2)), annotations),
      podCidrs: fc.constantFrom<readonly string[]>([], ["10.244.1.0/24"], ["10.244.2.0/24"]),
      kind: fc.constantFrom("put", "whole", "complete", "delete", "take"),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        const records = new NodeRecords(RULES);
        const known = new Map<string, unknown>();
        const take = () => {
          for (let event = records.takeChange(); event; event = records.takeChange()) {
            if (event.kind === "put") known.set(event.lease.key, event.lease);
            if (event.kind === "invalid") known.set(event.invalid.key, event.invalid);
            if (event.kind === "delete") known.delete(event.key);
          }
        };
        for (const { name, uid, annotations, podCidrs, kind } of changes) {
          const metadata = node(annotations, { name, uid });
          const whole = { ...metadata, podCidrs, conditions: [] };
          if (kind === "put") records.put(metadata);
          if (kind === "whole") records.putWithPodCidrs(whole);
          if (kind === "complete") records.complete(whole);
          if (kind === "delete") records.delete(name);
          if (kind === "take") take();
        }
        take();
        const { leases, invalid } = records.snapshot();
        const all = [...leases, ...invalid].map((one) => [one.key, one] as const);
        expect(new Map(all) as Map<string, unknown>).toEqual(known);
      }),
      { numRuns: 2000 },
    );
  });
});
