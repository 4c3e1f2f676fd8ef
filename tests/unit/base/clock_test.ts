import { expect, test } from "bun:test";
import { backoffMs, sleep, systemClock } from "../../../src/base/clock.ts";

test("the delay between attempts doubles up to its limit, with jitter of up to a half", () => {
  const limits = { firstMs: 50, maxMs: 2_000 };
  const pauses = (random: number) =>
    [1, 2, 3, 7, 50, 2_000].map((failures) =>
      backoffMs(failures, limits, { random: () => random })
    );
  expect(pauses(0)).toEqual([50, 100, 200, 2_000, 2_000, 2_000]);
  expect(pauses(1)).toEqual([25, 50, 100, 1_000, 1_000, 1_000]);
});

test("sleep() ends when its signal aborts, or at once if it has", async () => {
  const stop = new AbortController();
  const startMs = systemClock.nowMs();
  setTimeout(() => stop.abort(), 20);
  await sleep(systemClock, 60_000, stop.signal);
  await sleep(systemClock, 60_000, stop.signal);
  expect(systemClock.nowMs() - startMs).toBeLessThan(5_000);
});

test("a timer for a moment that is over calls back soon, without a warning", async () => {
  const warnings: string[] = [];
  const onWarning = ({ name }: Error) => void warnings.push(name);
  process.on("warning", onWarning);
  try {
    await new Promise<void>((resolve) => void systemClock.setTimer(-0.5, resolve));
    await new Promise<void>((resolve) => void systemClock.setTimer(-1e6, resolve));
    await systemClock.yield();
  } finally {
    process.off("warning", onWarning);
  }
  expect(warnings).toEqual([]);
});
