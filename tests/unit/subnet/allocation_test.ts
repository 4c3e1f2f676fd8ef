import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { PerFamily } from "../../../src/addr/family.ts";
import { formatAddress } from "../../../src/addr/ip.ts";
import { makePrefix, type Prefix, prefixesOverlap } from "../../../src/addr/prefix.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../../src/config/network_config.ts";
import { allocateSubnets, subnetsFit } from "../../../src/subnet/allocation.ts";

function parse(value: object): NetworkConfig {
  return parseNetworkConfig(JSON.stringify(value), { source: "test", warn: () => {} });
}

const SMALL = { Network: "10.5.0.0/24", SubnetLen: 28 };
const IPV6_ONLY = { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/56" };
const DUAL = { ...SMALL, ...IPV6_ONLY, EnableIPv4: true };
const first = () => 0;
const last = (limit: number) => limit - 1;

/** Prefixes of many lengths in and around the small network. */
const takenPrefix = fc.tuple(fc.integer({ min: 0, max: 511 }), fc.integer({ min: 22, max: 32 }))
  .map(([offset, length]) => makePrefix(formatAddress(4, 0x0a050000n + BigInt(offset)), length));

describe("allocateSubnets", () => {
  test("takes the first subnet after the network's own address, up to the last", () => {
    const { families } = parse(SMALL);
    expect<unknown>(allocateSubnets(families, [], first)).toEqual({ 4: "10.5.0.16/28" });
    expect<unknown>(allocateSubnets(families, [], last)).toEqual({ 4: "10.5.0.240/28" });
  });

  test("chooses among the first hundred free ones", () => {
    const { families } = parse({ Network: "10.0.0.0/8" });
    expect<unknown>(allocateSubnets(families, [], last)).toEqual({ 4: "10.0.100.0/24" });
    const taken = [{ 4: "10.0.1.0/24" as Prefix }, { 4: "10.0.64.0/18" as Prefix }];
    expect<unknown>(allocateSubnets(families, taken, first)).toEqual({ 4: "10.0.2.0/24" });
    expect<unknown>(allocateSubnets(families, taken, last)).toEqual({ 4: "10.0.165.0/24" });
  });

  test("keeps to SubnetMin and SubnetMax", () => {
    const { families } = parse({ ...SMALL, SubnetMin: "10.5.0.64", SubnetMax: "10.5.0.80" });
    expect<unknown>(allocateSubnets(families, [], first)).toEqual({ 4: "10.5.0.64/28" });
    expect<unknown>(allocateSubnets(families, [], last)).toEqual({ 4: "10.5.0.80/28" });
  });

  test("gives a subnet exactly when one is free, and never one that overlaps", () => {
    const { families } = parse(SMALL);
    const all = Array.from({ length: 15 }, (_, i) => `10.5.0.${16 * (i + 1)}/28` as Prefix);
    fc.assert(
      fc.property(fc.array(takenPrefix, { maxLength: 20 }), fc.nat(), (prefixes, chance) => {
        const taken = prefixes.filter((prefix) => Number(prefix.split("/")[1]) > 24);
        const free = all.filter((subnet) => !taken.some((other) => prefixesOverlap(subnet, other)));
        const choice = allocateSubnets(
          families,
          prefixes.map((prefix) => ({ 4: prefix })),
          (limit) => {
            expect(limit).toBe(free.length);
            expect(limit).toBeGreaterThan(0);
            return chance % limit;
          },
        );
        expect(choice?.[4]).toBe(free.length === 0 ? undefined : free[chance % free.length]);
      }),
      { numRuns: 500 },
    );
  });

  test("one address that is taken is enough to take its subnet", () => {
    const { families } = parse(SMALL);
    for (const address of ["10.5.0.16/32", "10.5.0.24/32", "10.5.0.31/32"]) {
      const taken = [{ 4: address as Prefix }];
      expect<unknown>(allocateSubnets(families, taken, first)).toEqual({ 4: "10.5.0.32/28" });
    }
  });

  test("a lease over the whole network leaves the other subnets free", () => {
    const { families } = parse(SMALL);
    const taken = ["0.0.0.0/0", "10.5.0.0/24"].map((prefix) => ({ 4: prefix as Prefix }));
    expect<unknown>(allocateSubnets(families, taken, first)).toEqual({ 4: "10.5.0.16/28" });
  });

  test("an IPv6-only network gives IPv6 subnets, whatever IPv4 leases there are", () => {
    const { families } = parse(IPV6_ONLY);
    const taken: PerFamily<Prefix>[] = [{ 4: "10.5.0.16/28" as Prefix }, {
      6: "fc00:0:0:1::/64" as Prefix,
    }];
    expect<unknown>(allocateSubnets(families, taken, first)).toEqual({ 6: "fc00:0:0:2::/64" });
  });

  test("dual stack chooses each family on its own, and needs both", () => {
    const { families } = parse(DUAL);
    const chances = [3, 7];
    const choice = allocateSubnets(families, [], () => chances.shift() as number);
    expect<unknown>(choice).toEqual({ 4: "10.5.0.64/28", 6: "fc00:0:0:8::/64" });
    const full = Array.from(
      { length: 15 },
      (_, i) => ({ 4: `10.5.0.${16 * (i + 1)}/28` as Prefix }),
    );
    const chosenAmong: number[] = [];
    const choose = (limit: number) => {
      chosenAmong.push(limit);
      return 0;
    };
    expect(allocateSubnets(families, full, choose)).toBe(undefined);
    expect(chosenAmong).toEqual([100]); // Of IPv4, none is left to choose from.
  });

  test("the one subnet left in a full /8 is found, in less than quadratic time", () => {
    const { families } = parse({ Network: "10.0.0.0/8" });
    const taken: PerFamily<Prefix>[] = [];
    for (let i = 65_535; i > 0; i--) {
      if (i !== 60_000) taken.push({ 4: `10.${i >> 8}.${i & 255}.0/24` as Prefix });
    }
    // Comparing each with each, 4 · 10⁹ times, would not end within the time that a test has.
    expect<unknown>(allocateSubnets(families, taken, first)).toEqual({ 4: "10.234.96.0/24" });
  });
});

describe("subnetsFit", () => {
  test.each<[object, PerFamily<string>, boolean]>([
    [SMALL, { 4: "10.5.0.16/28" }, true],
    [SMALL, { 4: "10.5.0.240/28" }, true],
    [SMALL, { 4: "10.5.0.0/28" }, false],
    [SMALL, { 4: "10.5.1.0/28" }, false],
    [SMALL, { 4: "10.5.0.32/27" }, false],
    [SMALL, { 4: "10.5.0.16/28", 6: "fc00:0:0:1::/64" }, false],
    [SMALL, {}, false],
    [DUAL, { 4: "10.5.0.16/28" }, false],
    [DUAL, { 4: "10.5.0.16/28", 6: "fc00:0:0:1::/64" }, true],
    [IPV6_ONLY, { 6: "fc00:0:0:1::/64" }, true],
    [IPV6_ONLY, { 6: "fc00::/64" }, false],
  ])("with %p, %p: %p", (config, subnets, fits) => {
    expect(subnetsFit(parse(config), subnets as PerFamily<Prefix>)).toBe(fits);
  });
});
