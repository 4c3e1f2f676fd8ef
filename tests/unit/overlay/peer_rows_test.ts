import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Backend, PeerReachability } from "../../../src/overlay/backend.ts";
import type { NodeInput } from "../../../src/overlay/node_input.ts";
import { type PeerContext, PeerRows } from "../../../src/overlay/peer_rows.ts";
import type { SourceRow } from "../../../src/state/entry_source.ts";
import type { Resource } from "../../../src/state/resource.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { external, ip, lease } from "../../support/sample_network.ts";
import { unpacked } from "../../support/unpacked.ts";

const INPUTS = [1, 7].map((n): NodeInput => ({
  own: lease(n, "host-gw", [4]),
  external: external([4]),
}));

/** Entries that show everything that they were computed from. */
const backend: Pick<Backend, "peer"> = {
  peer({ key, changed, attributes }, { own }, { direct }): Resource[] {
    const said = [key, changed, JSON.stringify(attributes), own.key, JSON.stringify(direct)];
    return [{ kind: "sysctl", path: "said", value: said.join(" ") }];
  },
};

const peers = fc.record({
  name: fc.constantFrom("a", "b", "c", "d"),
  revision: fc.bigInt({ min: 0n, max: 9n }),
}).map(({ name, revision }): Lease => ({
  ...lease(2, "host-gw", [4]),
  key: name as LeaseKey,
  changed: revision,
}));

const contexts: fc.Arbitrary<PeerContext | undefined> = fc.option(
  fc.record({
    input: fc.constantFrom(...INPUTS),
    reachability: fc.constantFrom<PeerReachability>(
      { direct: { 4: true }, path: { 4: "dev eth0" } },
      { direct: { 4: false }, path: { 4: `via ${ip("192.168.0.9")}` } },
      { direct: {}, path: {} },
    ),
  }),
  { nil: undefined },
);

test("whatever has happened since, entries are computed as they were given", () => {
  const operation = fc.record({
    kind: fc.constantFrom("put", "replace", "replace", "fail", "delete", "failedDelete"),
    peer: peers,
    context: contexts,
  });
  fc.assert(fc.property(fc.array(operation, { maxLength: 100 }), (operations) => {
    const rows = new PeerRows(backend, 0.5);
    const current = new Map<LeaseKey, Lease>();
    /** Where the entries of each owner are computed, and what was given. */
    const given = new Map<LeaseKey, { at: SourceRow; entries: Resource[]; precedence: bigint }>();
    for (const { kind, peer, context } of operations) {
      const { key } = peer;
      if (kind === "put") rows.put(peer);
      if (kind === "replace" || kind === "fail") {
        const replace = () =>
          rows.replaceEntries(peer, context, (at) => {
            if (kind === "fail") throw new Error("refused");
            const { input, reachability } = context ?? {};
            const entries = input && reachability ? backend.peer(peer, input, reachability) : [];
            given.set(key, { at, entries, precedence: peer.changed });
          });
        if (kind === "fail") expect(replace).toThrow("refused");
        else replace();
      }
      if (kind === "delete") rows.delete(key, () => given.delete(key));
      if (kind === "failedDelete") {
        const refuse = () => {
          throw new Error("refused");
        };
        expect(() => rows.delete(key, refuse)).toThrow("refused");
      }
      if (kind === "delete" || kind === "failedDelete") current.delete(key);
      else current.set(key, peer);

      expect([...rows.keys()].sort()).toEqual([...current.keys()].sort());
      for (const [key, { at, entries, precedence }] of given) {
        expect(at.source.ownerOf(at.row)).toBe(key);
        expect(at.source.precedenceOf(at.row)).toBe(precedence);
        expect(at.source.entriesOf(at.row)).toEqual(entries);
      }
      for (const name of ["a", "b", "c", "d"] as LeaseKey[]) {
        const lease = rows.get(name);
        expect(lease && unpacked(lease)).toEqual(current.get(name));
        expect(rows.has(name)).toBe(current.has(name));
      }
    }
  }));
});

test("counts a peer once, with and without entries", () => {
  const rows = new PeerRows(backend, 0.5);
  const [two, three] = [lease(2, "host-gw", [4]), lease(3, "host-gw", [4])];
  rows.put(two);
  rows.replaceEntries(three, undefined, () => {});
  rows.put(three);
  expect(rows.size).toBe(2);
  rows.delete(three.key, () => {});
  expect(rows.size).toBe(1);
});
