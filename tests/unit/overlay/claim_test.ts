import { beforeEach, describe, expect, test } from "bun:test";
import { BackendError } from "../../../src/overlay/backend_error.ts";
import { type ClaimAttempt, waitForClaim } from "../../../src/overlay/claim.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const TAKEN: ClaimAttempt = {
  kind: "taken",
  holder: "another flanneld (process 77) uses the device flannel-wg",
  refusal: "stop the flanneld of process 77",
};
const CLAIM: Disposable = { [Symbol.dispose]: () => {} };
const HANDOVER_MS = 10_000;

let clock: FakeClock;
let stop: AbortController;
let logged: ReturnType<typeof collectingLog>;
/** When the resource becomes free, in milliseconds from the start. */
let freeAtMs: number;
let attempts: number;

beforeEach(() => {
  clock = new FakeClock();
  stop = new AbortController();
  logged = collectingLog();
  attempts = 0;
});

/** The claim, or the error with which the wait for it ended; `undefined` while it lasts. */
function waiting(): { outcome?: unknown } {
  const startMs = clock.nowMs();
  const attempt = (): ClaimAttempt => {
    attempts++;
    return clock.nowMs() - startMs >= freeAtMs ? { kind: "claimed", claim: CLAIM } : TAKEN;
  };
  const result: { outcome?: unknown } = {};
  const settled = (outcome: unknown) => void (result.outcome = outcome);
  waitForClaim(attempt, { log: logged.log, clock, stop: stop.signal }).then(settled, settled);
  return result;
}

describe("waitForClaim()", () => {
  test("claims a free resource at once, without a log line", async () => {
    freeAtMs = 0;
    const result = waiting();
    await clock.advance(0);
    expect([result.outcome, attempts]).toEqual([CLAIM, 1]);
    expect(logged.records).toEqual([]);
  });

  test("waits for a daemon that is ending, and logs once which one it is", async () => {
    freeAtMs = 5_000;
    const result = waiting();
    await clock.advance(4_999);
    expect(result.outcome).toBeUndefined();
    await clock.advance(251);
    expect(result.outcome).toBe(CLAIM);
    expect(logged.records.map(({ level, msg }) => [level, msg])).toEqual([
      ["info", "another flanneld (process 77) uses the device flannel-wg; waiting for it to end"],
    ]);
  });

  test("gives up after 10 s, not before, and says what to do", async () => {
    freeAtMs = Infinity;
    const result = waiting();
    await clock.advance(HANDOVER_MS - 1);
    expect(result.outcome).toBeUndefined();
    await clock.advance(1);
    expect(result.outcome).toBeInstanceOf(BackendError);
    expect(result.outcome).toMatchObject({
      name: "BackendError",
      message: "stop the flanneld of process 77",
    });
    const made = attempts;
    await clock.advance(HANDOVER_MS);
    expect(attempts).toBe(made);
  });

  test("ends with the reason of the signal that the daemon ends", async () => {
    freeAtMs = Infinity;
    const result = waiting();
    await clock.advance(1_000);
    const reason = new Error("the daemon ends");
    stop.abort(reason);
    await clock.advance(0);
    expect(result.outcome).toBe(reason);
    const made = attempts;
    await clock.advance(HANDOVER_MS);
    expect(attempts).toBe(made);
  });
});
