import { expect, test } from "bun:test";
import { Poller } from "../../../src/kernel/table/poller.ts";
import { FakeClock } from "../../support/fake_clock.ts";

test("a poller pauses as the last poll says, and waits for a slow poll to end", async () => {
  const clock = new FakeClock();
  const startedMs: number[] = [];
  const originMs = clock.nowMs();
  let end = Promise.withResolvers<number>();
  const poller = new Poller(clock, () => {
    startedMs.push(clock.nowMs() - originMs);
    return end.promise;
  });
  poller.start(100);
  poller.start(10); // has been started already
  await clock.advance(150);
  expect(startedMs).toEqual([100]);
  await clock.advance(1000);
  expect(startedMs).toEqual([100]);
  end.resolve(500);
  end = Promise.withResolvers<number>();
  await clock.advance(499);
  expect(startedMs).toEqual([100]);
  await clock.advance(1);
  expect(startedMs).toEqual([100, 1650]);
});

test("a poller that is stopped and started during a poll has one timer", async () => {
  const clock = new FakeClock();
  let polls = 0;
  const end = Promise.withResolvers<number>();
  const poller = new Poller(clock, () => {
    polls++;
    return polls === 1 ? end.promise : Promise.resolve(100);
  });
  poller.start(100);
  await clock.advance(100);
  poller.stop();
  poller.start(100);
  end.resolve(100);
  await clock.advance(300);
  expect(polls).toBe(4);
  poller.stop();
  await clock.advance(1000);
  expect(polls).toBe(4);
});
