import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Identity, PeerIdentities } from "../../../src/overlay/peer_identities.ts";
import { type ClaimantRows, SettledClaims } from "../../../src/overlay/settled_claims.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { ip, lease } from "../../support/sample_network.ts";

const IDENTITIES = ["A", "B", "C"].map((name) => `PublicKey ${name}` as Identity);

class Rows implements ClaimantRows {
  readonly rows: { lease: Lease; identities: readonly Identity[] }[] = [];

  add(lease: Lease, identities: readonly Identity[]): number {
    return this.rows.push({ lease, identities }) - 1;
  }

  /** The last one: the others are of the lease as it was. */
  rowsOf(key: LeaseKey): number[] {
    const row = this.rows.findLastIndex(({ lease }) => lease.key === key);
    return row < 0 ? [] : [row];
  }

  leaseAt(row: number): Lease {
    return structuredClone(this.rows[row]?.lease as Lease);
  }

  identitiesAt(row: number): readonly Identity[] {
    return this.rows[row]?.identities ?? [];
  }
}

const names = fc.constantFrom("a", "b", "c", "d", "e").map((name) => name as LeaseKey);
const addresses = fc.constantFrom("192.0.2.1", "192.0.2.2", "192.0.2.3");

const put = fc.record({
  kind: fc.constant("put" as const),
  key: names,
  address: addresses,
  created: fc.integer({ min: 0, max: 5 }),
  changed: fc.integer({ min: 5, max: 9 }),
  identities: fc.subarray(IDENTITIES),
});
const remove = fc.record({ kind: fc.constant("remove" as const), key: names });
const live = fc.record({
  kind: fc.constant("live" as const),
  addresses: fc.uniqueArray(addresses),
});

test("settled claims change nothing about who has an identity", () => {
  const operations = fc.array(fc.oneof({ weight: 4, arbitrary: put }, remove, live), {
    maxLength: 60,
    size: "max",
  });
  fc.assert(
    fc.property(operations, (all) => {
      const rows = new Rows();
      const settled = new SettledClaims(rows, 0.5);
      let calls = 0;
      const compact = new PeerIdentities(() => calls++, settled);
      const model = new PeerIdentities(() => calls--);
      const both = (act: (identities: PeerIdentities) => LeaseKey[]) =>
        expect(act(compact).sort()).toEqual(act(model).sort());
      for (const one of all) {
        if (one.kind === "put") {
          const peer = peerOf(one);
          both((identities) => identities.put(peer, one.identities));
          const row = rows.add(peer, one.identities);
          if (compact.conflictOf(one.key) === undefined) compact.settle(one.key, row);
        } else if (one.kind === "remove") {
          both((identities) => identities.remove(one.key));
        } else {
          both((identities) => identities.setLiveNodes(new Set(one.addresses)));
        }
        expect(compact.conflictingAddresses).toEqual(model.conflictingAddresses);
        for (const key of ["a", "b", "c", "d", "e"] as LeaseKey[]) {
          expect(compact.conflictOf(key)).toEqual(model.conflictOf(key));
        }
        expect(calls).toBe(0);
      }
    }),
    { numRuns: 500 },
  );
});

function peerOf({ key, address, created, changed }: {
  readonly key: LeaseKey;
  readonly address: string;
  readonly created: number;
  readonly changed: number;
}): Lease {
  const { attributes, ...rest } = lease(2, "wireguard", [4]);
  return {
    ...rest,
    key,
    attributes: { ...attributes, publicAddresses: { 4: ip(address) } },
    created: BigInt(created),
    changed: BigInt(changed),
  };
}

test("peers whose claims are undisputed are settled, and leave nothing", () => {
  const rows = new Rows();
  const settled = new SettledClaims(rows, 0.5);
  const identities = new PeerIdentities(undefined, settled);
  const peers = Array.from({ length: 1000 }, (_, i) => ({
    ...lease(2, "wireguard", [4]),
    key: `node-${i}` as LeaseKey,
  }));
  for (const [i, peer] of peers.entries()) {
    const claimed = [`PublicKey ${i}` as Identity, `PublicKey v6 ${i}` as Identity];
    expect(identities.put(peer, claimed)).toEqual([]);
    identities.settle(peer.key, rows.add(peer, claimed));
  }
  expect(settled.size).toBe(2000);
  for (const { key } of peers) expect(identities.remove(key)).toEqual([]);
  expect(settled.size).toBe(0);
});

test("a peer whose identities can no longer be computed does not affect another one", () => {
  const rows = new Rows();
  const settled = new SettledClaims(rows, 0.5);
  const identities = new PeerIdentities(undefined, settled);
  const [two, three] = [lease(2, "wireguard", [4]), lease(3, "wireguard", [4])];
  identities.put(two, [IDENTITIES[0] as Identity]);
  identities.settle(two.key, rows.add(two, [IDENTITIES[0] as Identity]));
  rows.identitiesAt = () => {
    throw new Error("a bug");
  };
  expect(identities.put(three, [IDENTITIES[0] as Identity])).toEqual([]);
  expect(identities.remove(two.key)).toEqual([]);
  expect(settled.size).toBe(0);
});

test("a claim since a revision that a number cannot hold stays an object", () => {
  const rows = new Rows();
  const settled = new SettledClaims(rows, 0.5);
  for (const since of [2n ** 53n, 0n]) expect(settled.add(0, IDENTITIES, since)).toBe(false);
  expect(settled.add(0, IDENTITIES, 2n ** 53n - 1n)).toBe(true);
});
