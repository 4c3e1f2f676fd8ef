import { beforeEach, describe, expect, test } from "bun:test";
import { RepairLimiter } from "../../../src/reconcile/repair_limiter.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import { tunnelRoute } from "../../support/arbitrary_state.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const KEY = resourceKey(tunnelRoute(2));

let clock: FakeClock;
let limiter: RepairLimiter;

beforeEach(() => {
  clock = new FakeClock(() => 0);
  limiter = new RepairLimiter(clock);
});

/** Repairs without a delay, in immediate succession. */
function repairPromptly(times: number): void {
  for (let i = 0; i < times; i++) expect(limiter.beforeRepair(KEY, "none")).toBeUndefined();
}

describe("RepairLimiter", () => {
  test("allows 15 prompt repairs, then doubles the delay each time, up to a minute", () => {
    repairPromptly(15);
    const rounds = Array.from({ length: 8 }, () => limiter.beforeRepair(KEY, "none"));
    expect(rounds.map((one) => one?.round)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(rounds.map((one) => one?.delayMs)).toEqual(
      [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000],
    );
    // Other entries are not affected.
    expect(limiter.beforeRepair(resourceKey(tunnelRoute(3)), "none")).toBeUndefined();
  });

  test("allows the delayed repair, and does not count it twice", () => {
    repairPromptly(15);
    expect(limiter.beforeRepair(KEY, "none")?.round).toBe(1);
    expect(limiter.beforeRepair(KEY, "over")).toBeUndefined();
    expect(limiter.beforeRepair(KEY, "over")).toBeUndefined();
    expect(limiter.beforeRepair(KEY, "none")?.round).toBe(2);
    expect(limiter.beforeRepair(KEY, "running")?.round).toBe(3);
  });

  test("counts repairs that are up to ten seconds apart", async () => {
    repairPromptly(14);
    await clock.advance(10_000);
    repairPromptly(1);
    await clock.advance(10_001);
    repairPromptly(15);
    expect(limiter.beforeRepair(KEY, "none")?.round).toBe(1);
  });

  test("starts over after ten quiet seconds more than the longest delay", async () => {
    repairPromptly(15);
    limiter.beforeRepair(KEY, "none");
    await clock.advance(70_000);
    expect(limiter.beforeRepair(KEY, "none")?.round).toBe(2);
    await clock.advance(70_001);
    repairPromptly(15);
  });

  test("counts the quiet time from the delayed repair", async () => {
    repairPromptly(15);
    limiter.beforeRepair(KEY, "none");
    await clock.advance(60_000);
    expect(limiter.beforeRepair(KEY, "over")).toBeUndefined();
    await clock.advance(60_000);
    expect(limiter.beforeRepair(KEY, "none")?.round).toBe(2);
  });

  test.each(["running", "over"] as const)(
    "does not count a delay (%s) as quiet time, however few repairs there were",
    async (wait) => {
      repairPromptly(15);
      await clock.advance(70_000);
      limiter.beforeRepair(KEY, wait);
      expect(limiter.beforeRepair(KEY, "none")).toBeDefined();
    },
  );

  test("forgets an entry that needed no repair for longer than the longest delay", async () => {
    repairPromptly(15);
    limiter.beforeRepair(KEY, "none");
    await clock.advance(60_000);
    limiter.forgetOld();
    expect(limiter.beforeRepair(KEY, "none")?.round).toBe(2);
    await clock.advance(60_001);
    limiter.forgetOld();
    repairPromptly(15);
  });
});
