/** What a backend reads of another node's lease, and why it refuses to. */

import { describe, expect, test } from "bun:test";
import {
  dataName,
  InvalidPeerError,
  jsonMember,
  peerAddress,
  peerData,
  requireBackendType,
  tunnelEnd,
} from "../../../src/overlay/peer_lease.ts";
import type { Lease } from "../../../src/subnet/lease.ts";
import { external, ip, lease } from "../../support/sample_network.ts";

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidPeerError);
    expect((error as Error).name).toBe("InvalidPeerError");
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

function withData(data: unknown): Lease {
  const plain = lease(2, "vxlan", [4, 6]);
  return {
    ...plain,
    attributes: { ...plain.attributes, backendData: { 4: data } },
  };
}

test("requireBackendType() rejects another backend, and a lease that names none", () => {
  requireBackendType(lease(2, "vxlan", [4]), "vxlan");
  expect(refusal(() => requireBackendType(lease(2, "host-gw", [4]), "vxlan"))).toBe(
    "its backend is host-gw, this node's is vxlan",
  );
  expect(refusal(() => requireBackendType(lease(2, "", [4]), "vxlan"))).toBe(
    "its backend is not named, this node's is vxlan",
  );
});

describe("the address of a peer", () => {
  test("is the public one of the family", () => {
    const peer = lease(2, "vxlan", [4, 6]);
    expect([4, 6].map((family) => peerAddress(peer, family as 4 | 6))).toEqual([
      ip("192.168.0.2"),
      ip("fd00::2"),
    ]);
  });

  test("is required if the lease has a subnet of the family", () => {
    const peer = lease(2, "vxlan", [4, 6]);
    const lacking = { ...peer, attributes: { ...peer.attributes, publicAddresses: {} } };
    expect(refusal(() => peerAddress(lacking, 6))).toBe(
      "it has the subnet fc00:0:0:2::/64 but no public IPv6 address",
    );
  });

  test("cannot be the end of a tunnel if it is this node's own, behind NAT, too", () => {
    const peer = lease(2, "vxlan", [4]);
    expect(tunnelEnd(peer, 4, external([4]))).toBe(ip("192.168.0.2"));
    const own =
      "its public address 192.168.0.2 is this node's own and cannot be the remote end of a tunnel";
    const addresses = { 4: ip("192.168.0.2") };
    expect(refusal(() => tunnelEnd(peer, 4, { ...external([4]), addresses }))).toBe(own);
    expect(
      refusal(() => tunnelEnd(peer, 4, { ...external([4]), publicAddresses: addresses })),
    ).toBe(own);
  });
});

describe("peerData()", () => {
  test("is the object of the family", () => {
    expect(peerData(withData({ VNI: 1 }), 4)).toEqual({ VNI: 1 });
    expect([4, 6].map((family) => dataName(family as 4 | 6))).toEqual([
      "BackendData",
      "BackendV6Data",
    ]);
  });

  test.each<[unknown, string]>([
    [undefined, "it has the subnet 10.5.2.0/24 but no BackendData"],
    [null, "it has the subnet 10.5.2.0/24 but no BackendData"],
    [[1], "its BackendData is the array [1], not an object"],
    [7, "its BackendData is the number 7, not an object"],
    ["text", 'its BackendData is the string "text", not an object'],
    [
      ' {"VNI":1}',
      'its BackendData is the string " {\\"VNI\\":1}", not an object; ' +
      "it was encoded as JSON twice",
    ],
  ])("rejects %p", (data, reason) => {
    expect(refusal(() => peerData(withData(data), 4))).toBe(reason);
  });
});

describe("jsonMember()", () => {
  test("finds a member in any case, in its own case first", () => {
    expect(jsonMember({ vni: 1, VNI: 2 }, "VNI")).toBe(2);
    expect(jsonMember({ other: 3, vni: 1 }, "VNI")).toBe(1);
    expect(jsonMember({ VNI: 1 }, "vni")).toBe(1);
    expect(jsonMember({ other: 3 }, "VNI")).toBeUndefined();
    expect(jsonMember({ undefined: 3 }, "VNI")).toBeUndefined();
  });

  test("finds nothing in anything but an object", () => {
    for (const data of [undefined, null, 7, "VNI"]) {
      expect(jsonMember(data, "length")).toBeUndefined();
    }
  });
});
