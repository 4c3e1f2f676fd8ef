import { beforeEach, describe, expect, test } from "bun:test";
import { RepairLimiter } from "../../../src/reconcile/repair_limiter.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import { tunnelRoute } from "../../support/arbitrary_state.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const KEY = resourceKey(tunnelRoute(2));

let clock: FakeClock;
let fights: RepairLimiter;

beforeEach(() => {
  clock = new FakeClock(() => 0);
  fights = new RepairLimiter(clock);
});

/** Repairs that need not wait, one after the other without a pause. */
function repairAtOnce(times: number): void {
  for (let i = 0; i < times; i++) expect(fights.beforeRepair(KEY, "none")).toBeUndefined();
}

describe("Fights", () => {
  test("lets 15 repairs pass, then waits twice as long each time, up to a minute", () => {
    repairAtOnce(15);
    const rounds = Array.from({ length: 8 }, () => fights.beforeRepair(KEY, "none"));
    expect(rounds.map((one) => one?.round)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(rounds.map((one) => one?.delayMs)).toEqual(
      [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000],
    );
    // Other entries are not affected.
    expect(fights.beforeRepair(resourceKey(tunnelRoute(3)), "none")).toBeUndefined();
  });

  test("makes the repair that has waited, and does not count it twice", () => {
    repairAtOnce(15);
    expect(fights.beforeRepair(KEY, "none")?.round).toBe(1);
    expect(fights.beforeRepair(KEY, "over")).toBeUndefined();
    expect(fights.beforeRepair(KEY, "over")).toBeUndefined();
    expect(fights.beforeRepair(KEY, "none")?.round).toBe(2);
    expect(fights.beforeRepair(KEY, "running")?.round).toBe(3);
  });

  test("counts repairs that are up to ten seconds apart, and begins again after more", async () => {
    repairAtOnce(14);
    await clock.advance(10_000);
    repairAtOnce(1);
    await clock.advance(10_001);
    repairAtOnce(15);
    expect(fights.beforeRepair(KEY, "none")?.round).toBe(1);
  });

  test("once it waits, takes only ten seconds more than the longest wait for peace", async () => {
    repairAtOnce(15);
    fights.beforeRepair(KEY, "none");
    await clock.advance(70_000);
    expect(fights.beforeRepair(KEY, "none")?.round).toBe(2);
    await clock.advance(70_001);
    repairAtOnce(15);
  });

  test("counts the quiet from the repair that was made after waiting", async () => {
    repairAtOnce(15);
    fights.beforeRepair(KEY, "none");
    await clock.advance(60_000);
    expect(fights.beforeRepair(KEY, "over")).toBeUndefined();
    await clock.advance(60_000);
    expect(fights.beforeRepair(KEY, "none")?.round).toBe(2);
  });

  test.each(["running", "over"] as const)(
    "does not take the time of a wait (%s) for quiet, however few repairs there were",
    async (wait) => {
      repairAtOnce(15);
      await clock.advance(70_000);
      fights.beforeRepair(KEY, wait);
      expect(fights.beforeRepair(KEY, "none")).toBeDefined();
    },
  );

  test("forgets what has been over for longer than the longest wait", async () => {
    repairAtOnce(15);
    fights.beforeRepair(KEY, "none");
    await clock.advance(60_000);
    fights.forgetOld();
    expect(fights.beforeRepair(KEY, "none")?.round).toBe(2);
    await clock.advance(60_001);
    fights.forgetOld();
    repairAtOnce(15);
  });
});
