/** Waits for asynchronous effects, within a bound that the test states. */

const SHORTEST_PAUSE_MS = 15;

/**
 * Calls `check` until it returns something other than `undefined` or `false`, and returns that.
 * Throws with `what` and the last failure after `timeoutMs`; a check that throws is tried again.
 * Pauses as long as a check has taken: on a single processor, a check that starts programs would
 * otherwise take the time from what it waits for.
 */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  check: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    const begun = performance.now();
    try {
      const value = await check();
      if (value !== undefined && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      const reason = last instanceof Error ? `: ${last.message}` : "";
      throw new Error(`not within ${timeoutMs} ms: ${what}${reason}`);
    }
    await Bun.sleep(Math.max(SHORTEST_PAUSE_MS, performance.now() - begun));
  }
}

/** Throws as soon as `check` returns false within `durationMs`. */
export async function throughout(
  what: string,
  durationMs: number,
  check: () => Promise<boolean> | boolean,
): Promise<void> {
  const deadline = performance.now() + durationMs;
  while (performance.now() < deadline) {
    if (!await check()) throw new Error(`does not hold for ${durationMs} ms: ${what}`);
    await Bun.sleep(30);
  }
}
