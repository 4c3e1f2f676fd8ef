import { beforeEach, describe, expect, test } from "bun:test";
import { type EntryFailure, TrackedEntry } from "../../../src/reconcile/entry_table.ts";
import { WorkList } from "../../../src/reconcile/work_list.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import { tunnelRoute } from "../../support/arbitrary_state.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const KEY = resourceKey(tunnelRoute(2));
const OTHER = resourceKey(tunnelRoute(3));

let clock: FakeClock;
let work: WorkList;
let calls: number;
let entry: TrackedEntry;

beforeEach(() => {
  clock = new FakeClock();
  calls = 0;
  work = new WorkList({ clock, onWork: () => void calls++ });
  entry = new TrackedEntry(KEY);
});

function fail(kind: EntryFailure["kind"], ms: number): void {
  entry.failure = { kind, message: "", attempts: 1, retryAtMs: clock.nowMs() + ms };
}

describe("WorkList", () => {
  test("holds an entry once, until it is taken, and says that there is work", () => {
    work.add(entry);
    work.add(entry);
    work.add(new TrackedEntry(OTHER));
    expect([...work.keys()]).toEqual([KEY, OTHER]);
    expect(work.size).toBe(2);
    expect(calls).toBe(3);
    expect(work.take(KEY)).toBe(true);
    expect(work.take(KEY)).toBe(false);
    expect([...work.keys()]).toEqual([OTHER]);
  });

  test("leaves out a damped entry until its delay is over", async () => {
    fail("damped", 1000);
    work.add(entry);
    expect(work.size).toBe(0);
    expect(calls).toBe(0);
    await clock.advance(999);
    work.add(entry);
    expect(work.size).toBe(0);
    await clock.advance(1);
    work.add(entry);
    expect(work.size).toBe(1);
    expect(calls).toBe(1);
  });

  test.each(["failing", "conflict"] as const)(
    "adds an entry that is %s at once when it changes",
    (kind) => {
      fail(kind, 1000);
      work.add(entry);
      expect(work.size).toBe(1);
    },
  );

  test("adds an entry to the current pass without requesting another", () => {
    work.addToPass(KEY);
    expect(work.size).toBe(1);
    expect(calls).toBe(0);
  });

  test("adds the entries that wait for a device when it changes, once", () => {
    work.waitFor("flannel.1", KEY);
    work.waitFor("flannel.1", OTHER);
    work.waitFor("eth0", OTHER);
    expect(work.size).toBe(0);
    work.wake("eth1");
    expect(calls).toBe(0);
    work.wake("flannel.1");
    expect([...work.keys()]).toEqual([KEY, OTHER]);
    expect(calls).toBe(1);
    work.take(KEY);
    work.take(OTHER);
    work.wake("flannel.1");
    expect(work.size).toBe(0);
    expect(calls).toBe(1);
    work.wake("eth0");
    expect([...work.keys()]).toEqual([OTHER]);
  });
});
