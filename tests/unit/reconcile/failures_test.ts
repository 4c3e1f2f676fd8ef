import { beforeEach, describe, expect, test } from "bun:test";
import { KernelError } from "../../../src/kernel/kernel.ts";
import { type KeyConflict, TrackedEntry } from "../../../src/reconcile/entry_table.ts";
import { Failures } from "../../../src/reconcile/failures.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Resource } from "../../../src/state/resource.ts";
import { fdb, foreignRoute, neighbour, tunnelRoute } from "../../support/arbitrary_state.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const ROUTE_TEXT = "route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink";

let clock: FakeClock;
let records: LogRecord[];
let failures: Failures;

beforeEach(() => {
  clock = new FakeClock(() => 0);
  const collecting = collectingLog();
  records = collecting.records;
  failures = new Failures({ clock, log: collecting.log });
});

function entryOf(desired: Resource): TrackedEntry {
  const entry = new TrackedEntry(resourceKey(desired));
  entry.desired = desired;
  return entry;
}

function fail(errno: string, ...entries: TrackedEntry[]): void {
  failures.addFailed(entries.map((entry) => ({
    entry,
    step: { op: "set", resource: entry.desired as Resource },
    error: new KernelError({ operation: "set it", errno }),
  })));
}

function logged(): string[] {
  return records.splice(0).map(({ level, msg }) => `${level}: ${msg}`);
}

describe("Failures, of steps that fail,", () => {
  test("retries with doubled delays, up to half a minute", () => {
    const entry = entryOf(tunnelRoute(2));
    const delays = Array.from({ length: 12 }, (_, i) => {
      fail("ENOBUFS", entry);
      expect(entry.failure).toMatchObject({ kind: "failing", attempts: i + 1 });
      return (entry.failure?.retryAtMs ?? 0) - clock.nowMs();
    });
    expect(delays.slice(0, 4)).toEqual([100, 200, 400, 800]);
    expect(delays.slice(-2)).toEqual([30_000, 30_000]);
    expect([...failures.entries()]).toEqual([entry]);
  });

  test("logs the first, second, fourth and eighth in a row", () => {
    const entry = entryOf(tunnelRoute(2));
    const lines = Array.from({ length: 9 }, () => {
      fail("ENOBUFS", entry);
      return logged().length;
    });
    expect(lines).toEqual([1, 1, 0, 1, 0, 0, 0, 1, 0]);
  });

  test("logs similar failures in one line, and each other kind in its own line", () => {
    fail(
      "ENOBUFS",
      entryOf(tunnelRoute(2)),
      entryOf(tunnelRoute(3)),
      entryOf(tunnelRoute(4)),
      entryOf(neighbour(2, 2)),
    );
    expect(logged()).toEqual([
      expect.stringMatching(
        new RegExp(`^warn: cannot set ${ROUTE_TEXT}: .*ENOBUFS.* \\(and 2 more like it\\)$`),
      ),
      expect.stringMatching(/^warn: cannot set neigh 10\.5\.2\.0 .*: [^(]*(\([^a][^(]*)?$/),
    ]);
    failures.addFailed([
      {
        entry: entryOf(tunnelRoute(5)),
        step: { op: "set", resource: tunnelRoute(5) },
        error: new KernelError({ operation: "set it", errno: "EPERM" }),
      },
      {
        entry: entryOf(tunnelRoute(6)),
        step: { op: "set", resource: tunnelRoute(6) },
        error: new KernelError({ operation: "set it", errno: "ENOBUFS" }),
      },
      {
        entry: entryOf(tunnelRoute(7)),
        step: { op: "delete", resource: tunnelRoute(7) },
        error: new KernelError({ operation: "delete it", errno: "ENOBUFS" }),
      },
    ]);
    expect(logged()).toHaveLength(3);
  });

  test("starts to count when the previous failure was of another kind", () => {
    const entry = entryOf(tunnelRoute(2));
    failures.addDamped(entry, { delayMs: 1000, round: 5 });
    fail("ENOBUFS", entry);
    expect(entry.failure?.attempts).toBe(1);
  });
});

describe("Failures, of an entry whose key another program holds,", () => {
  test("logs the conflict once for each holder, and waits for a change", () => {
    const entry = entryOf(tunnelRoute(2));
    failures.addConflict(entry, foreignRoute(2));
    expect(logged()).toEqual([
      `warn: cannot set ${ROUTE_TEXT}: conflicts with an existing entry not owned by flanneld: ` +
      "route 10.5.2.0/24 dev eth1 proto 4 scope link; " +
      "delete it to let flanneld install its own",
    ]);
    expect(entry.failure).toMatchObject({ kind: "conflict", attempts: 1, retryAtMs: Infinity });
    failures.addConflict(entry, foreignRoute(2));
    expect(logged()).toEqual([]);
    failures.addConflict(entry, { ...foreignRoute(2), protocol: 5 });
    expect(logged()).toHaveLength(1);
    expect(failures.nextRetryMs).toBe(Infinity);
  });

  test("logs the conflict again after a failure of another kind", () => {
    const entry = entryOf(tunnelRoute(2));
    failures.addConflict(entry, foreignRoute(2));
    const { message } = entry.failure as NonNullable<typeof entry.failure>;
    entry.failure = { kind: "failing", message, attempts: 1, retryAtMs: 0 };
    logged();
    failures.addConflict(entry, foreignRoute(2));
    expect(logged()).toHaveLength(1);
  });
});

describe("Failures, of a damped entry,", () => {
  test("shows the last change, and rounds the delay up", () => {
    const entry = entryOf(tunnelRoute(2));
    failures.addDamped(entry, { delayMs: 1001, round: 3 });
    expect(logged()).toEqual([
      `warn: ${ROUTE_TEXT}: another program keeps modifying it ` +
      "(last: removed); next repair in 2 s",
    ]);
    expect(entry.failure).toMatchObject({
      kind: "damped",
      attempts: 3,
      retryAtMs: clock.nowMs() + 1001,
    });
    entry.actual = foreignRoute(2);
    failures.addDamped(entry, { delayMs: 4000, round: 4 });
    expect(logged()[0]).toEndWith(
      "(last: changed to route 10.5.2.0/24 dev eth1 proto 4 scope link); next repair in 4 s",
    );
  });
});

describe("Failures", () => {
  test("names the lease and the device of an entry, also of one that must go", () => {
    const wanted = entryOf(tunnelRoute(2));
    const unwanted = new TrackedEntry(resourceKey(tunnelRoute(3)));
    unwanted.actual = tunnelRoute(3);
    for (const entry of [wanted, unwanted]) {
      entry.owner = "node-2";
      failures.addDamped(entry, { delayMs: 1000, round: 2 });
      failures.clearRecovered(entry);
    }
    const fields = records.map(({ lease, device }) => [lease, device]);
    expect(fields).toEqual(Array(4).fill(["node-2", "flannel.1"]));
  });

  test("names the owners of two entries with one key, and reports them once", () => {
    const conflict: KeyConflict = {
      winner: { owner: "node-2", precedence: 1n, resource: tunnelRoute(2) },
      loser: { owner: "node-3", precedence: 2n, resource: tunnelRoute(3) },
    };
    failures.reportKeyConflict(conflict);
    failures.reportKeyConflict(conflict);
    expect(records.map(({ lease, winner }) => [lease, winner])).toEqual([["node-3", "node-2"]]);
  });

  test("logs that an entry that had failed repeatedly is in sync again", () => {
    const once = entryOf(tunnelRoute(2));
    const twice = entryOf(tunnelRoute(3));
    fail("ENOBUFS", once, twice);
    fail("ENOBUFS", twice);
    logged();
    failures.clearRecovered(once);
    failures.clearRecovered(twice);
    failures.clearRecovered(twice);
    expect(logged()).toEqual([
      "info: route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 70 onlink is in sync again",
    ]);
    expect([once.failure, twice.failure, ...failures.entries()]).toEqual([undefined, undefined]);
  });

  test("logs nothing when another entry is desired", () => {
    const entry = entryOf(tunnelRoute(2));
    fail("ENOBUFS", entry);
    fail("ENOBUFS", entry);
    logged();
    failures.clear(entry);
    expect(logged()).toEqual([]);
    expect(entry.failure).toBeUndefined();
  });

  test("has the time of the first retry", () => {
    expect(failures.nextRetryMs).toBe(Infinity);
    const entry = entryOf(tunnelRoute(2));
    fail("ENOBUFS", entry);
    fail("ENOBUFS", entry, entryOf(tunnelRoute(3)));
    expect(failures.nextRetryMs).toBe(clock.nowMs() + 100);
  });

  test("reports conflicts separately, each entry as text, or by its key", () => {
    const conflict = entryOf(tunnelRoute(2));
    failures.addConflict(conflict, foreignRoute(2));
    const unwanted = new TrackedEntry(resourceKey(fdb(2, 2)));
    unwanted.actual = fdb(2, 2);
    failures.addDamped(unwanted, { delayMs: 1, round: 1 });
    failures.addDamped(new TrackedEntry(resourceKey(fdb(3, 3))), { delayMs: 1, round: 1 });
    const { failing, conflicts } = failures.status();
    expect(conflicts.map(({ text }) => text)).toEqual([ROUTE_TEXT]);
    expect(conflicts[0]?.error).toStartWith(
      "conflicts with an existing entry not owned by flanneld: route 10.5.2.0/24",
    );
    expect(failing.map(({ text }) => text)).toEqual([
      "fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent",
      "fdb 02:00:00:00:00:03 flannel.1",
    ]);
  });
});
