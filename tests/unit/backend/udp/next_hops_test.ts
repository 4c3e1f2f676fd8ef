import { expect, test } from "bun:test";
import fc from "fast-check";
import { maskOf, NextHops, NO_HOP, type Subnet } from "../../../../src/backend/udp/next_hops.ts";

const A = 0xc0000201; // 192.0.2.1
const B = 0xc0000202;

test("an address goes to the peer that has its subnet, the next address to the next", () => {
  const hops = new NextHops();
  hops.set({ address: 0x0a050100, length: 24 }, A);
  hops.set({ address: 0x0a050200, length: 24 }, B);
  expect(hops.find(0x0a0501ff)).toBe(A);
  expect(hops.find(0x0a050200)).toBe(B);
  expect(hops.find(0x0a050300)).toBe(NO_HOP);
});

test("a change counts for the very next packet", () => {
  const hops = new NextHops();
  const subnet = { address: 0xfa050100, length: 24 };
  expect(hops.find(0xfa050107)).toBe(NO_HOP);
  hops.set(subnet, A);
  expect(hops.find(0xfa050107)).toBe(A);
  hops.set(subnet, B);
  expect(hops.find(0xfa050107)).toBe(B);
  hops.delete(subnet);
  expect(hops.find(0xfa050107)).toBe(NO_HOP);
});

test("of two subnets the longer one counts, as in a list of routes", () => {
  const subnet = fc.record<Subnet>({
    address: fc.integer({ min: 0, max: 255 }).map((low) => (0xac100000 + low * 0x100) >>> 0),
    length: fc.integer({ min: 8, max: 32 }),
  });
  const change = fc.record({ subnet, hop: fc.integer({ min: 0, max: 5 }) });
  const destination = fc.integer({ min: 0xac100000, max: 0xac10ffff });
  fc.assert(fc.property(fc.array(change), fc.array(destination), (changes, destinations) => {
    const hops = new NextHops();
    const list = new Map<string, Subnet & { readonly hop: number }>();
    for (const { subnet: { address, length }, hop } of changes) {
      const key = `${address & maskOf(length)}/${length}`;
      if (hop === 0) list.delete(key);
      else list.set(key, { address, length, hop });
      if (hop === 0) hops.delete({ address, length });
      else hops.set({ address, length }, hop);
    }
    for (const wanted of destinations) {
      const best = [...list.values()]
        .filter(({ address, length }) => ((address ^ wanted) & maskOf(length)) === 0)
        .sort((a, b) => b.length - a.length)[0];
      expect(hops.find(wanted)).toBe(best?.hop ?? NO_HOP);
    }
  }));
});
