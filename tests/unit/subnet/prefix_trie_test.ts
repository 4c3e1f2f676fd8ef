import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatAddress } from "../../../src/addr/ip.ts";
import { makePrefix, type Prefix, prefixesOverlap } from "../../../src/addr/prefix.ts";
import { PrefixTrie } from "../../../src/subnet/prefix_trie.ts";
import { ip, prefix } from "../../support/sample_network.ts";

interface Owner {
  readonly name: string;
}

function named(names: readonly Owner[]): string[] {
  return names.map(({ name }) => name).sort();
}

describe("PrefixTrie", () => {
  const [a, b, c] = ["a", "b", "c"].map((name) => ({ name })) as [Owner, Owner, Owner];

  test("finds what contains a prefix, lies inside it, or is the same", () => {
    const trie = new PrefixTrie<Owner>();
    trie.add(prefix("10.5.0.0/16"), a);
    trie.add(prefix("10.5.2.0/24"), b);
    trie.add(prefix("10.6.0.0/16"), c);
    const at = (text: string) => named(trie.overlapping(prefix(text)));
    expect(at("10.5.0.0/16")).toEqual(["a", "b"]);
    expect(at("10.5.2.0/24")).toEqual(["a", "b"]);
    expect(at("10.5.2.128/25")).toEqual(["a", "b"]);
    expect(at("10.5.3.0/24")).toEqual(["a"]);
    expect(at("10.4.0.0/14")).toEqual(["a", "b", "c"]);
    expect(at("0.0.0.0/0")).toEqual(["a", "b", "c"]);
    expect(at("192.0.2.0/24")).toEqual([]);
  });

  test("holds each owner of a prefix once, and removes one without the others", () => {
    const trie = new PrefixTrie<Owner>();
    const at = prefix("10.5.2.0/24");
    for (const owner of [a, a, b, c, b]) trie.add(at, owner);
    expect(named(trie.overlapping(at))).toEqual(["a", "b", "c"]);
    trie.delete(at, b);
    expect(named(trie.overlapping(at))).toEqual(["a", "c"]);
    trie.delete(at, b);
    trie.delete(at, a);
    expect(named(trie.overlapping(at))).toEqual(["c"]);
    trie.delete(at, c);
    expect(trie.overlapping(at)).toEqual([]);
  });

  test("keeps what is above and below a prefix that is removed", () => {
    const trie = new PrefixTrie<Owner>();
    trie.add(prefix("10.5.0.0/16"), a);
    trie.add(prefix("10.5.2.0/24"), b);
    trie.add(prefix("10.5.2.2/32"), c);
    trie.delete(prefix("10.5.2.0/24"), b);
    expect(named(trie.overlapping(prefix("10.5.2.0/24")))).toEqual(["a", "c"]);
    trie.delete(prefix("10.5.2.2/32"), c);
    expect(named(trie.overlapping(prefix("10.5.2.0/24")))).toEqual(["a"]);
    trie.delete(prefix("10.5.3.0/24"), a);
    trie.delete(prefix("10.5.0.0/16"), b);
    expect(named(trie.overlapping(prefix("10.5.0.0/16")))).toEqual(["a"]);
  });

  test("keeps the neighbour of a prefix that is removed, at each length and on both sides", () => {
    for (let length = 1; length <= 32; length++) {
      const sides = [0n, 1n].map((bit) =>
        makePrefix(formatAddress(4, 0x0a050000n | bit << BigInt(32 - length)), length)
      ) as [Prefix, Prefix];
      if (sides[0] === sides[1]) continue;
      for (const [kept, removed] of [sides, sides.toReversed() as [Prefix, Prefix]]) {
        const trie = new PrefixTrie<Owner>();
        trie.add(kept, a);
        trie.add(removed, b);
        trie.delete(removed, b);
        expect(named(trie.overlapping(kept))).toEqual(["a"]);
        expect(trie.overlapping(removed)).toEqual([]);
      }
    }
  });

  test("frees the memory of removed prefixes", () => {
    const trie = new PrefixTrie<Owner>();
    const change = (times: number) => {
      for (let i = 0; i < times; i++) {
        const one = makePrefix(ip(`10.${i >> 8}.${i & 255}.0`), 24);
        trie.add(one, a);
        trie.delete(one, a);
      }
      Bun.gc(true);
      return heapStats().objectTypeCounts.Object ?? 0;
    };
    const before = change(10);
    // Each would leave several nodes.
    expect(change(5000) - before).toBeLessThan(2500);
  });

  test("agrees with a comparison of each two, in both families", () => {
    const prefixes = fc.oneof(
      fc.tuple(fc.nat(3), fc.nat(3), fc.integer({ min: 0, max: 32 }))
        .map(([x, y, length]) => makePrefix(ip(`10.${64 * x}.${85 * y}.1`), length)),
      fc.tuple(fc.nat(3), fc.integer({ min: 0, max: 128 }))
        .map(([x, length]) => makePrefix(ip(`fc00:${x}::${x}`), length)),
    );
    fc.assert(fc.property(
      fc.array(fc.tuple(prefixes, fc.nat(2), fc.boolean()), { maxLength: 30 }),
      prefixes,
      (changes, asked) => {
        const tries = { 4: new PrefixTrie<Owner>(), 6: new PrefixTrie<Owner>() };
        const of = (one: Prefix) => tries[one.includes(":") ? 6 : 4];
        const held = new Map<string, [Prefix, Owner]>();
        for (const [one, n, isAdded] of changes) {
          const owner = [a, b, c][n] as Owner;
          if (isAdded) of(one).add(one, owner);
          else of(one).delete(one, owner);
          if (isAdded) held.set(`${one} ${owner.name}`, [one, owner]);
          else held.delete(`${one} ${owner.name}`);
        }
        const expected = [...held.values()].filter(([one]) =>
          one.includes(":") === asked.includes(":") && prefixesOverlap(one, asked)
        );
        expect(named(of(asked).overlapping(asked)))
          .toEqual(named(expected.map(([, owner]) => owner)));
      },
    ));
  });
});
