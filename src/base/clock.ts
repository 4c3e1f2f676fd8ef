/**
 * Time and randomness as a dependency: the system's, or those that a test controls. Everything that
 * waits, retries or measures needs it.
 */

export interface Clock {
  /** Monotonic milliseconds since an arbitrary moment. */
  nowMs(): number;
  /**
   * Milliseconds since 1970 by the host's clock, which may jump: only to compare with timestamps.
   */
  wallMs(): number;
  /** Calls back once after the delay, unless disposed before. A negative delay is none. */
  setTimer(delayMs: number, callback: () => void): Disposable;
  /** Lets pending events and callbacks run first. */
  yield(): Promise<void>;
  /** Uniformly distributed in [0, 1). */
  random(): number;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(delayMs, callback) {
    // The moment may have passed already. The runtime warns about negative delays.
    const timer = setTimeout(callback, Math.max(delayMs, 0));
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  yield: () => new Promise((resolve) => setImmediate(resolve)),
  random: () => Math.random(),
};

/**
 * Milliseconds since 1970 (UTC) with microseconds as the fraction, for timestamps of log lines.
 * Nothing may depend on it: it is not injected, and the system's clock may be wrong.
 */
export function unixTimeMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Resolves after the delay. */
export function pause(clock: Pick<Clock, "setTimer">, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.setTimer(delayMs, resolve));
}

/** Calls back after each period until disposed. */
export function repeat(
  clock: Pick<Clock, "setTimer">,
  periodMs: number,
  callback: () => void,
): Disposable {
  let timer: Disposable;
  const wait = (): void => {
    timer = clock.setTimer(periodMs, () => {
      callback();
      wait();
    });
  };
  wait();
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}

/** Resolves after the delay, or as soon as the signal aborts. */
export async function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = () => resolve();
  using _timer = clock.setTimer(delayMs, done);
  signal.addEventListener("abort", done);
  await promise;
  signal.removeEventListener("abort", done);
}

/**
 * The delay before the next attempt after `failures` failures, 1 or more. It doubles from `firstMs`
 * to `maxMs`, with jitter: up to half of it is taken off at random, so nodes that lost the same
 * server do not reconnect at the same moment.
 */
export function backoffMs(
  failures: number,
  limits: { readonly firstMs: number; readonly maxMs: number },
  clock: Pick<Clock, "random">,
): number {
  const doubled = limits.firstMs * 2 ** Math.min(failures - 1, 30);
  return Math.min(doubled, limits.maxMs) * (1 - clock.random() / 2);
}
