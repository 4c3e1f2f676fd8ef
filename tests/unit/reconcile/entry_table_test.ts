import { beforeEach, describe, expect, test } from "bun:test";
import {
  EntryTable,
  type KeyConflict,
  type TrackedEntry,
} from "../../../src/reconcile/entry_table.ts";
import { SettledIndex } from "../../../src/reconcile/settled_index.ts";
import type { EntrySource } from "../../../src/state/entry_source.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Resource, VxlanLink } from "../../../src/state/resource.ts";
import type { MacAddress } from "../../../src/addr/mac.ts";
import { fdb, neighbour, tunnelRoute, vxlanDevice } from "../../support/arbitrary_state.ts";
import { computedAgain } from "../../support/computed_again.ts";

const KEY = resourceKey(fdb(5, 2));
const SEED = 0.5;

let table: EntryTable;
let conflicts: string[];
let changed: string[];
let inconsistent: string[];

beforeEach(() => {
  conflicts = [];
  changed = [];
  inconsistent = [];
  table = newTable();
});

function newTable(): EntryTable {
  return new EntryTable({
    onKeyConflict({ winner, loser }: KeyConflict) {
      conflicts.push(`${winner.owner} over ${loser.owner}`);
    },
    onInconsistent: (owner) => void inconsistent.push(owner),
    seed: SEED,
  });
}

/** The keys of the entries that changed. */
function desire(owner: string, resources: Resource[], precedence = 0n): string[] {
  const keys: string[] = [];
  table.setDesired(owner, resources, precedence, ({ key }) => keys.push(key));
  changed.push(...keys);
  return keys;
}

function winner(): [string | undefined, Resource | undefined] {
  const entry = table.get(KEY);
  return [entry?.desired && entry.owner, entry?.desired];
}

describe("EntryTable", () => {
  test("reports each entry that is newly desired, changed, or no longer desired", () => {
    expect(desire("a", [fdb(5, 2), neighbour(2, 2)])).toEqual([
      KEY,
      resourceKey(neighbour(2, 2)),
    ]);
    expect(desire("a", [fdb(5, 2), neighbour(2, 3)])).toEqual([resourceKey(neighbour(2, 3))]);
    expect(desire("a", [fdb(5, 3)])).toEqual([resourceKey(neighbour(2, 2)), KEY]);
    expect(desire("a", [])).toEqual([KEY]);
    expect(winner()).toEqual([undefined, undefined]);
    expect(desire("a", [])).toEqual([]);
  });

  test("keeps its object when an equal one is set", () => {
    const first = fdb(5, 2);
    desire("a", [first]);
    desire("a", [fdb(5, 2)]);
    expect(table.get(KEY)?.desired).toBe(first);
  });

  test("distinguishes a device with the default port from one with another port", () => {
    const entry = () => table.get(resourceKey(vxlanDevice("flannel.1")));
    desire("a", [vxlanDevice("flannel.1")]);
    desire("a", [{ ...vxlanDevice("flannel.1"), port: 4789 } as VxlanLink]);
    expect((entry()?.desired as VxlanLink).port).toBe(4789);
  });

  test("keeps one object when the kernel already holds the desired entry", () => {
    const desired = fdb(5, 3);
    const entry = table.at(KEY);
    entry.actual = fdb(5, 3);
    expect(entry.isInSync).toBe(false);
    desire("a", [desired]);
    expect(entry.isInSync).toBe(true);
    expect(entry.actual).toBe(desired);
    desire("a", [fdb(5, 4)]);
    expect(entry.isInSync).toBe(false);
    expect(entry.actual).toBe(desired);
    entry.actual = undefined;
    expect(entry.isInSync).toBe(false);
  });

  test("lets the claim with the highest precedence win, in any order of arrival", () => {
    const claims = [["low", 2, 1n], ["high", 3, 3n], ["middle", 4, 2n]] as const;
    for (const order of [[0, 1, 2], [2, 1, 0], [1, 2, 0]]) {
      table = newTable();
      for (const i of order) {
        const [owner, n, precedence] = claims[i] as (typeof claims)[number];
        desire(owner, [fdb(5, n)], precedence);
      }
      expect(winner()).toEqual(["high", fdb(5, 3)]);
      expect(table.get(KEY)?.precedence).toBe(3n);
      desire("high", []);
      expect(winner()).toEqual(["middle", fdb(5, 4)]);
      expect(table.get(KEY)?.precedence).toBe(2n);
      desire("middle", []);
      expect(winner()).toEqual(["low", fdb(5, 2)]);
      expect(table.get(KEY)?.otherClaims).toBeUndefined();
      desire("low", []);
      expect(winner()).toEqual([undefined, undefined]);
      expect(table.get(KEY)?.precedence).toBe(0n);
    }
  });

  test("decides between equal precedences by the owner's name", () => {
    for (const order of [["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"]]) {
      table = newTable();
      for (const owner of order) desire(owner, [fdb(5, 2)], 1n);
      expect(winner()[0]).toBe("a");
      desire("a", []);
      expect(winner()[0]).toBe("b");
    }
  });

  test("lets an owner replace its claim while there are others", () => {
    desire("a", [fdb(5, 2)], 2n);
    desire("b", [fdb(5, 3)], 1n);
    desire("a", [fdb(5, 4)], 2n);
    expect(winner()).toEqual(["a", fdb(5, 4)]);
    desire("b", [fdb(5, 6)], 3n);
    expect(winner()).toEqual(["b", fdb(5, 6)]);
    desire("b", [fdb(5, 6)], 1n);
    expect(winner()).toEqual(["a", fdb(5, 4)]);
    desire("a", []);
    expect(winner()).toEqual(["b", fdb(5, 6)]);
    desire("b", []);
    expect(winner()).toEqual([undefined, undefined]);
  });

  test("removes a losing claim without a change", () => {
    desire("a", [fdb(5, 2)], 2n);
    desire("b", [fdb(5, 3)], 1n);
    expect(desire("b", [])).toEqual([]);
    expect(table.get(KEY)?.otherClaims).toBeUndefined();
    expect(winner()).toEqual(["a", fdb(5, 2)]);
  });

  test("reports two owners that desire different entries, and only the new claim", () => {
    desire("a", [fdb(5, 2)], 1n);
    desire("b", [fdb(5, 2)], 2n);
    expect(conflicts).toEqual([]);
    desire("c", [fdb(5, 3)], 3n);
    expect(conflicts.splice(0).sort()).toEqual(["c over a", "c over b"]);
    desire("d", [fdb(5, 4)], 0n);
    expect(conflicts.splice(0)).toEqual(["c over d"]);
  });

  test("releases only entries that are neither desired nor in the kernel", () => {
    desire("a", [fdb(5, 2)]);
    const entry = table.at(KEY);
    expect(table.release(entry)).toBe(false);
    expect(table.get(KEY)).toBe(entry);
    desire("a", []);
    entry.actual = fdb(5, 2);
    expect(table.release(entry)).toBe(false);
    entry.actual = undefined;
    expect(table.release(entry)).toBe(true);
    expect(table.get(KEY)).toBeUndefined();
    expect([...table.records()]).toEqual([]);
  });

  test("creates an entry on demand", () => {
    const entry = table.at(resourceKey(tunnelRoute(2)));
    expect(table.at(entry.key)).toBe(entry);
    expect([...table.records()]).toEqual([entry]);
  });
});

describe("EntryTable, of an owner that computes its entries again,", () => {
  let computed: number;

  /** As `desire`; `entries` are those that the owner computes. */
  function desireAgain(owner: string, resources: Resource[], entries = resources): string[] {
    const keys: string[] = [];
    const { source, row } = computedAgain(owner, entries, 7n);
    const counted: EntrySource = {
      ...source,
      entriesOf() {
        computed++;
        return source.entriesOf(row);
      },
    };
    const onChanged = ({ key }: TrackedEntry) => void keys.push(key);
    table.setDesired(owner, resources, 7n, onChanged, { source: counted, row });
    return keys;
  }

  /** The kernel holds what is desired. */
  function settle(resource: Resource): TrackedEntry {
    const entry = table.at(resourceKey(resource));
    entry.actual = entry.desired;
    expect(table.release(entry)).toBe(false);
    return entry;
  }

  beforeEach(() => void (computed = 0));

  test("keeps no record of a settled entry, and makes an equal one on demand", () => {
    desireAgain("a", [fdb(5, 2), neighbour(2, 2)]);
    const before = table.at(KEY);
    before.isOurChange = true;
    const record = { ...settle(fdb(5, 2)) };
    expect([...table.records()].map(({ key }) => key)).toEqual([resourceKey(neighbour(2, 2))]);
    expect([table.settledCount, table.mayBeSettled(KEY), table.mayHave(KEY)]).toEqual([
      1,
      true,
      true,
    ]);
    const again = table.get(KEY) as TrackedEntry;
    expect(again).not.toBe(before);
    expect({ ...again }).toEqual(record);
    expect([table.settledCount, table.mayBeSettled(KEY), table.mayHave(KEY)])
      .toEqual([0, false, true]);
    expect(table.at(KEY)).toBe(again);
  });

  test("keeps the record of an entry that deviates, drifted, failed, or has another claim", () => {
    const deviations: ((entry: TrackedEntry) => void)[] = [
      (entry) => entry.actual = fdb(5, 3),
      (entry) => entry.actual = undefined,
      (entry) => entry.hasDrifted = true,
      (entry) => entry.failure = { kind: "failing", message: "", attempts: 1, retryAtMs: 0 },
      (entry) => entry.otherClaims = [{ owner: "b", precedence: 0n, resource: fdb(5, 2) }],
    ];
    for (const deviate of deviations) {
      table = newTable();
      desireAgain("a", [fdb(5, 2)]);
      const entry = table.at(KEY);
      entry.actual = entry.desired;
      deviate(entry);
      table.release(entry);
      expect(table.at(KEY)).toBe(entry);
    }
    expect(computed).toBe(0);
  });

  test("keeps records of kinds that cannot be dumped, and of entries that it names twice", () => {
    const sysctl: Resource = { kind: "sysctl", path: "net/x", value: "1" };
    desireAgain("a", [sysctl]);
    settle(sysctl);
    desireAgain("b", [fdb(5, 2), fdb(5, 3)]);
    settle(fdb(5, 3));
    expect([table.settledCount, table.get(KEY)?.desired]).toEqual([0, fdb(5, 3)]);
  });

  test("does not compute entries to say that one is unknown", () => {
    desireAgain("a", [fdb(5, 2)]);
    settle(fdb(5, 2));
    expect(table.get(resourceKey(fdb(6, 2)))).toBeUndefined();
    expect(table.mayHave(resourceKey(fdb(6, 2)))).toBe(false);
    expect(computed).toBe(0);
  });

  test("reports only what changes when an owner replaces its settled entries", () => {
    desireAgain("a", [fdb(5, 2), neighbour(2, 2)]);
    settle(fdb(5, 2));
    settle(neighbour(2, 2));
    expect(desireAgain("a", [fdb(5, 2), neighbour(2, 3)])).toEqual([
      resourceKey(neighbour(2, 2)),
    ]);
    expect([table.settledCount, [...table.records()].length]).toEqual([1, 1]);
    expect(table.get(resourceKey(neighbour(2, 3)))).toMatchObject({
      desired: neighbour(2, 3),
      actual: neighbour(2, 2),
      precedence: 7n,
      owner: "a",
    });
    expect(desireAgain("a", [])).toEqual([KEY, resourceKey(neighbour(2, 2))]);
    expect([table.settledCount, table.get(KEY)?.actual]).toEqual([0, fdb(5, 2)]);
  });

  test("has a record again while there are two claims, and drops it after that", () => {
    desireAgain("a", [fdb(5, 2)]);
    settle(fdb(5, 2));
    expect(desireAgain("b", [fdb(5, 2)])).toEqual([]);
    expect(table.settledCount).toBe(0);
    expect(table.get(KEY)?.otherClaims).toHaveLength(1);
    expect(desireAgain("b", [])).toEqual([]);
    expect(table.settledCount).toBe(1);
    expect(winner()).toEqual(["a", fdb(5, 2)]);
  });

  test("makes the records that are asked for", () => {
    desireAgain("a", [fdb(5, 2), neighbour(2, 2)]);
    desireAgain("b", [fdb(6, 3)]);
    for (const resource of [fdb(5, 2), neighbour(2, 2), fdb(6, 3)]) settle(resource);
    const restored = table.restoreWhere((_, { kind }) => kind === "fdb");
    expect(restored.map(({ key }) => key)).toEqual([KEY, resourceKey(fdb(6, 3))]);
    expect([...table.records()]).toEqual(restored);
    expect(table.settledCount).toBe(1);
  });

  test("a record that was dropped has no effect when it is released once more", () => {
    desireAgain("a", [fdb(5, 2)]);
    const dropped = settle(fdb(5, 2));
    const entry = table.at(KEY);
    entry.actual = undefined;
    table.release(dropped);
    expect([table.settledCount, table.at(KEY)]).toEqual([0, entry]);
  });

  test("reports an owner that returns something else than it desired", () => {
    desireAgain("a", [fdb(5, 2), neighbour(2, 2)], [fdb(5, 2), neighbour(3, 2)]);
    settle(fdb(5, 2));
    settle(neighbour(2, 2));
    expect(table.get(resourceKey(neighbour(2, 2)))).toBeUndefined();
    desireAgain("a", [fdb(5, 2)]);
    expect([inconsistent, table.settledCount]).toEqual([["a"], 1]);
  });

  test("compares a settled entry without a record", () => {
    desireAgain("a", [fdb(5, 2), neighbour(2, 2)]);
    settle(fdb(5, 2));
    const [settled, recorded] = [KEY, resourceKey(neighbour(2, 2))];
    expect(table.isSettledAs(settled, fdb(5, 2))).toBe(true);
    expect(table.isSettledAs(settled, fdb(5, 3))).toBe(false);
    expect(table.isSettledAs(recorded, neighbour(2, 2))).toBe(false);
    expect(table.isSettledAs(resourceKey(fdb(6, 2)), fdb(6, 2))).toBe(false);
    expect(table.settledCount).toBe(1);
  });

  test("distinguishes entries whose keys have one hash", () => {
    const [first, second] = collision();
    desireAgain("a", [first]);
    settle(first);
    // The new entry is not in the kernel, although the hash of the settled one says so.
    expect(desireAgain("a", [first, second])).toEqual([resourceKey(second)]);
    expect(table.get(resourceKey(second))?.actual).toBeUndefined();
    expect(table.settledCount).toBe(1);
    settle(second);
    expect(table.settledCount).toBe(2);
    expect(desireAgain("a", [second])).toEqual([resourceKey(first)]);
    expect(desireAgain("b", [first])).toEqual([resourceKey(first)]);
    expect(table.get(resourceKey(second))?.owner).toBe("a");
    expect(table.get(resourceKey(first))?.owner).toBe("b");
  });

  test("finds the entries of ten thousand owners that come and go", () => {
    const entry = (i: number): Resource => ({
      ...fdb(1, 2),
      mac: `02:00:00:${(1000 + i).toString(16).padStart(6, "0")}` as MacAddress,
    });
    for (let i = 0; i < 10_000; i++) {
      desireAgain(`owner ${i}`, [entry(i)]);
      settle(entry(i));
    }
    for (let i = 0; i < 10_000; i += 2) desireAgain(`owner ${i}`, []);
    for (let i = 10_000; i < 15_000; i++) {
      desireAgain(`owner ${i}`, [entry(i)]);
      settle(entry(i));
    }
    expect(table.settledCount).toBe(10_000);
    for (let i = 1; i < 10_000; i += 2) {
      expect(table.get(resourceKey(entry(i)))?.owner).toBe(`owner ${i}`);
    }
  });
});

/** Two forwarding entries whose keys have one hash. Among 300 000 there are some ten such pairs. */
function collision(): [Resource, Resource] {
  const index = new SettledIndex(SEED);
  const known = new Map<number, Resource>();
  for (let i = 0; i < 300_000; i++) {
    // Spread over all digits: keys that differ in a few characters only have different hashes.
    const digits = (i * 2_654_435_761 % 2 ** 40).toString(16).padStart(10, "0");
    const mac = `02:${digits.replace(/..(?!$)/g, "$&:")}` as MacAddress;
    const resource: Resource = { ...fdb(1, 2), mac };
    const hash = index.hashOf(resourceKey(resource));
    const other = known.get(hash);
    if (other !== undefined) return [other, resource];
    known.set(hash, resource);
  }
  throw new Error("no two keys have one hash");
}
