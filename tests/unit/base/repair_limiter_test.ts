import { beforeEach, describe, expect, test } from "bun:test";
import { RepairLimiter } from "../../../src/base/repair_limiter.ts";
import { FakeClock } from "../../support/fake_clock.ts";

let clock: FakeClock;
let limiter: RepairLimiter<string>;

beforeEach(() => {
  clock = new FakeClock(() => 0);
  limiter = new RepairLimiter({ clock, maxDelayMs: 60_000 });
});

/** Repairs that are made one after the other without a delay, after each of which none is due. */
function repairPromptly(times: number): void {
  for (let i = 0; i < times; i++) expect(limiter.repaired("a")).toBeUndefined();
}

/** Waits for each delay, and returns them. */
async function repairWhenAllowed(times: number): Promise<number[]> {
  const delays: number[] = [];
  for (let i = 0; i < times; i++) {
    const delayMs = limiter.repaired("a")?.delayMs ?? 0;
    delays.push(delayMs);
    await clock.advance(delayMs);
    expect(limiter.delayOf("a")).toBeUndefined();
  }
  return delays;
}

describe("RepairLimiter", () => {
  test("allows 15 prompt repairs, then doubles the delay each time, up to a limit", async () => {
    repairPromptly(14);
    expect(await repairWhenAllowed(8)).toEqual(
      [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000],
    );
    expect(limiter.repaired("a")?.round).toBe(9);
  });

  test("does not delay repairs of other things", () => {
    repairPromptly(14);
    limiter.repaired("a");
    expect(limiter.delayOf("a")).toEqual({ delayMs: 1000, round: 1 });
    expect(limiter.delayOf("b")).toBeUndefined();
    expect(limiter.repaired("b")).toBeUndefined();
  });

  test("counts a delay from the repair, so what is modified late is repaired soon", async () => {
    repairPromptly(14);
    limiter.repaired("a");
    await clock.advance(400);
    expect(limiter.delayOf("a")?.delayMs).toBe(600);
    await clock.advance(599);
    expect(limiter.delayOf("a")?.delayMs).toBe(1);
    await clock.advance(1);
    expect(limiter.delayOf("a")).toBeUndefined();
  });

  test("counts repairs that are up to ten seconds apart", async () => {
    repairPromptly(14);
    await clock.advance(10_000);
    expect(limiter.repaired("a")?.round).toBe(1);
  });

  test("starts over after a longer quiet time", async () => {
    repairPromptly(14);
    await clock.advance(10_001);
    repairPromptly(14);
    expect(limiter.repaired("a")?.round).toBe(1);
  });

  test("does not count delays as quiet time", async () => {
    repairPromptly(14);
    limiter.repaired("a");
    await clock.advance(70_000);
    expect(limiter.repaired("a")?.round).toBe(2);
    await clock.advance(70_001);
    repairPromptly(14);
  });

  test("shortens each delay by up to a half, at random", () => {
    clock = new FakeClock(() => 0.5);
    limiter = new RepairLimiter({ clock, maxDelayMs: 60_000 });
    repairPromptly(14);
    expect(limiter.repaired("a")?.delayMs).toBe(750);
  });

  test("allows a repair at once after forget", () => {
    repairPromptly(14);
    limiter.repaired("a");
    limiter.forget("a");
    expect(limiter.delayOf("a")).toBeUndefined();
    repairPromptly(14);
  });

  test("forgets only what has been quiet for so long that the count starts over", async () => {
    repairPromptly(14);
    limiter.repaired("a");
    await clock.advance(70_000);
    limiter.forgetOld();
    expect(limiter.repaired("a")?.round).toBe(2);
    await clock.advance(70_001);
    limiter.forgetOld();
    repairPromptly(14);
  });
});
