import { beforeEach, describe, expect, test } from "bun:test";
import { EntryTable, type KeyConflict } from "../../../src/reconcile/entry_table.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Resource, VxlanLink } from "../../../src/state/resource.ts";
import { fdb, neighbour, tunnelRoute, vxlanDevice } from "../../support/arbitrary_state.ts";

const KEY = resourceKey(fdb(5, 2));

let table: EntryTable;
let conflicts: string[];
let changed: string[];

beforeEach(() => {
  conflicts = [];
  changed = [];
  table = new EntryTable(({ winner, loser }: KeyConflict) => {
    conflicts.push(`${winner.owner} over ${loser.owner}`);
  });
});

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
      table = new EntryTable(() => {});
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
      table = new EntryTable(() => {});
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
    expect([...table.values()]).toEqual([]);
  });

  test("creates an entry on demand", () => {
    const entry = table.at(resourceKey(tunnelRoute(2)));
    expect(table.at(entry.key)).toBe(entry);
    expect([...table.values()]).toEqual([entry]);
  });
});
