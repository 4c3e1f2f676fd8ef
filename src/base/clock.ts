/** Time and chance as dependencies: the system's, or those that a test moves by hand. */

export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  nowMs(): number;
  /** Calls back once after the delay, unless disposed before. */
  setTimer(delayMs: number, callback: () => void): Disposable;
  /** Lets everything else that is due run first. */
  yield(): Promise<void>;
  /** Evenly spread in [0, 1). */
  random(): number;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  yield: () => new Promise((resolve) => setImmediate(resolve)),
  random: () => Math.random(),
};

/** Resolves after that time, or at once when the signal aborts. */
export async function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = () => resolve();
  using _timer = clock.setTimer(ms, done);
  signal.addEventListener("abort", done);
  await promise;
  signal.removeEventListener("abort", done);
}

/**
 * How long to wait before the next attempt, `failures` counted from 1: doubling from `firstMs` to
 * `maxMs`, each time less a random part of its upper half, so that many nodes that lost one server
 * do not come back in step.
 */
export function backoffMs(
  failures: number,
  limits: { readonly firstMs: number; readonly maxMs: number },
  clock: Pick<Clock, "random">,
): number {
  const doubled = limits.firstMs * 2 ** Math.min(failures - 1, 30);
  return Math.min(doubled, limits.maxMs) * (1 - clock.random() / 2);
}
