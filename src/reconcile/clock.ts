/** Time as a dependency: the system's, or one that a test moves by hand. */

export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  nowMs(): number;
  /** Calls back once after the delay, unless disposed before. */
  setTimer(delayMs: number, callback: () => void): Disposable;
  /** Lets everything else that is due run first. */
  yield(): Promise<void>;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  yield: () => new Promise((resolve) => setImmediate(resolve)),
};

/** Exponential back-off with jitter: the n-th delay, n from 1, is between half and all of its step. */
export function backoffMs(
  attempt: number,
  limits: { readonly firstMs: number; readonly maxMs: number },
  random: () => number,
): number {
  const step = Math.min(limits.maxMs, limits.firstMs * 2 ** Math.min(attempt - 1, 30));
  return step * (0.5 + random() / 2);
}
