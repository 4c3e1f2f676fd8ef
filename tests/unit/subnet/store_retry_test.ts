/** Attempts through an outage of a store. */

import { beforeEach, describe, expect, test } from "bun:test";
import { retryUntilSuccess, type StoreRetry } from "../../../src/subnet/store_retry.ts";
import { StoreError } from "../../../src/subnet/lease_store.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

class CallError extends Error {
  readonly retry: StoreRetry;

  constructor(message: string, retry: StoreRetry = {}) {
    super(message);
    this.retry = retry;
  }
}

function retryOf(error: unknown): StoreRetry | undefined {
  return error instanceof CallError ? error.retry : undefined;
}

describe("retryUntilSuccess()", () => {
  let clock: FakeClock;
  let records: LogRecord[];
  let stop: AbortController;
  let times: number[];

  beforeEach(() => {
    clock = new FakeClock(() => 0);
    stop = new AbortController();
    times = [];
  });

  function run(attempt: () => Promise<string>): Promise<unknown> {
    const { log, records: kept } = collectingLog();
    records = kept;
    const limits = { firstMs: 500, maxMs: 2000, retryOf };
    const options = { what: "it", log, clock, signal: stop.signal, ...limits };
    const beginMs = clock.nowMs();
    return retryUntilSuccess(options, () => {
      times.push(clock.nowMs() - beginMs);
      return attempt();
    }).catch((error) => error);
  }

  /** Succeeds at this attempt. */
  function failing(attempts: number, retry: StoreRetry): () => Promise<string> {
    return () =>
      times.length < attempts
        ? Promise.reject(new CallError("away", retry))
        : Promise.resolve("answer");
  }

  test("pauses twice as long each time until there is an answer, and says both", async () => {
    const result = run(failing(6, {}));
    await clock.advance(60_000);
    expect(await result).toBe("answer");
    expect(times).toEqual([0, 500, 1500, 3500, 5500, 7500]);
    expect(records.map(({ msg }) => msg)).toEqual([
      "it failed: away",
      "it works again after 5 failures in 8 s",
    ]);
  });

  test("asks again within a second as long as nothing is reached", async () => {
    const result = run(failing(5, { isUnreachable: true }));
    await clock.advance(60_000);
    expect(await result).toBe("answer");
    expect(times).toEqual([0, 500, 1500, 2500, 3500]);
  });

  test("waits as long as the server asks for, where that is longer", async () => {
    const result = run(failing(4, { retryAfterMs: 1800 }));
    await clock.advance(60_000);
    expect(await result).toBe("answer");
    expect(times).toEqual([0, 1800, 3600, 5600]);
  });

  test("waits for no more than a minute, whatever the server asks for", async () => {
    const result = run(failing(2, { retryAfterMs: 1e12 }));
    await clock.advance(60_000);
    expect(await result).toBe("answer");
    expect(times).toEqual([0, 60_000]);
  });

  test("spreads the attempts of nodes that a server refused together", async () => {
    clock = new FakeClock(() => 0.8);
    const result = run(failing(2, { retryAfterMs: 10_000 }));
    await clock.advance(60_000);
    expect(await result).toBe("answer");
    expect(times).toEqual([0, 10_240]);
  });

  test.each([
    ["an error of the store itself", new StoreError("away")],
    ["a fault of the program", new TypeError("a bug")],
  ])("gives up at once for %s", async (_what, error) => {
    expect(await run(() => Promise.reject(error))).toBe(error);
    expect(times).toEqual([0]);
    expect(records).toEqual([]);
  });

  test("ends with the signal's reason, before an attempt, after it, and in a pause", async () => {
    const reason = new Error("the daemon ends");
    const pausing = run(() => Promise.reject(new CallError("away")));
    await clock.advance(100);
    stop.abort(reason);
    await clock.advance(0);
    expect(await pausing).toBe(reason);
    expect(times).toEqual([0]);
    expect(await run(() => Promise.resolve("answer"))).toBe(reason);
    expect(times).toEqual([0]);
    stop = new AbortController();
    const aborted = run(() => {
      stop.abort(reason);
      return Promise.reject(new CallError("away"));
    });
    expect(await aborted).toBe(reason);
    expect(records).toEqual([]);
  });
});
