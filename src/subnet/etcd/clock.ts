/** Time and chance as the etcd client sees them, so that tests can replace both. */

export interface Clock {
  /** Milliseconds that only grow; the start is arbitrary. */
  nowMs(): number;
  /** Resolves after that time, or at once when the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Evenly spread in [0, 1). */
  random(): number;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  random: () => Math.random(),
  sleep(ms, signal) {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done);
    });
  },
};

/**
 * How long to wait before the next attempt, `failures` counted from 1: doubling from `firstMs` to
 * `maxMs`, each time a random part of the upper half is taken off, so that many nodes that lost one
 * server do not come back in step.
 */
export function backoffMs(
  failures: number,
  limits: { readonly firstMs: number; readonly maxMs: number },
  clock: Pick<Clock, "random">,
): number {
  const doubled = limits.firstMs * 2 ** Math.min(failures - 1, 30);
  return Math.min(doubled, limits.maxMs) * (1 - clock.random() / 2);
}
