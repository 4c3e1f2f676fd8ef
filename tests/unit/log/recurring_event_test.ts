import { expect, test } from "bun:test";
import { RecurringEvent } from "../../../src/log/recurring_event.ts";
import { collectingLog } from "../../support/collecting_log.ts";

test("an event is logged five times, then at each doubling, until a quiet minute", () => {
  const { log, records } = collectingLog();
  let nowMs = 0;
  const recurrence = new RecurringEvent({ log, clock: { nowMs: () => nowMs } });
  expect(recurrence.isFrequent).toBe(false);
  for (let i = 1; i <= 50; i++) {
    expect(recurrence.occurred("warn", "it is gone", { lease: i })).toBe(
      i <= 5 || i % 10 === 0 && i !== 30 && i !== 50,
    );
    expect(recurrence.isFrequent).toBe(i >= 5);
    nowMs += 59_999;
  }
  expect(records.slice(4).map(({ msg }) => msg)).toEqual([
    "it is gone",
    "it is gone (10 times so far)",
    "it is gone (20 times so far)",
    "it is gone (40 times so far)",
  ]);
  expect(records[4]).toMatchObject({ level: "warn", lease: 5 });
  nowMs += 1;
  expect(recurrence.isFrequent).toBe(false);
  expect(recurrence.occurred("info", "it is back")).toBe(true);
  expect(recurrence.isFrequent).toBe(false);
});
