/**
 * When to give back memory that an idle daemon does not need: a while after work has begun, and
 * rarely. An idle daemon has no timer for it.
 */

import type { Clock } from "../base/clock.ts";

export interface MemoryReleaseOptions {
  readonly clock: Clock;
  readonly release: () => void;
}

/** By then, a burst of changes is over, and the runtime has collected its garbage. */
const DELAY_MS = 15_000;
/** The next change needs some of it again, and takes some milliseconds more. */
const INTERVAL_MS = 600_000;

export class MemoryRelease implements Disposable {
  readonly #options: MemoryReleaseOptions;
  #notBeforeMs = 0;
  #timer: Disposable | undefined;

  constructor(options: MemoryReleaseOptions) {
    this.#options = options;
  }

  /** The daemon has work to do: a release follows. */
  onWork(): void {
    if (this.#timer !== undefined) return;
    const { clock, release } = this.#options;
    const delayMs = Math.max(DELAY_MS, this.#notBeforeMs - clock.nowMs());
    this.#timer = clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      this.#notBeforeMs = clock.nowMs() + INTERVAL_MS;
      release();
    });
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }
}
