import { expect, test } from "bun:test";
import { poll } from "../../../src/lab/poll.ts";
import { FakeClock } from "../../support/fake_clock.ts";

test("polls at the interval until the probe succeeds", async () => {
  const clock = new FakeClock();
  let calls = 0;
  const polling = poll(() => ++calls === 3, { clock, intervalMs: 20, timeoutMs: 1_000 });
  await clock.advance(19);
  expect(calls).toBe(1);
  await clock.advance(21);
  expect(await polling).toBe(true);
  expect(calls).toBe(3);
});

test("gives up after the timeout", async () => {
  const clock = new FakeClock();
  const polling = poll(() => Promise.resolve(false), { clock, intervalMs: 20, timeoutMs: 100 });
  await clock.advance(200);
  expect(await polling).toBe(false);
});

test("throws the reason of the signal, and what the probe throws", async () => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const options = { clock, intervalMs: 20, timeoutMs: 1_000, signal: stop.signal };
  const polling = poll(() => false, options).catch((error: Error) => error.message);
  stop.abort(new Error("interrupted"));
  expect(await polling).toBe("interrupted");
  const failing = poll(() => {
    throw new Error("broken");
  }, { clock, intervalMs: 20, timeoutMs: 1_000 });
  expect(await failing.catch((error: Error) => error.message)).toBe("broken");
});
