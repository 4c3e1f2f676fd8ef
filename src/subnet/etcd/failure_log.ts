/** Says once, then ever more rarely, that something keeps failing, and once that it works again. */

import type { Log } from "../../log/log.ts";
import type { Clock } from "../../time/clock.ts";

const FIRST_PAUSE_MS = 10_000;
const MAX_PAUSE_MS = 300_000;

export class FailureLog {
  readonly #log: Log;
  readonly #clock: Pick<Clock, "nowMs">;
  #nextMs = -Infinity;
  #pauseMs = FIRST_PAUSE_MS;
  /** A failure was logged, and no recovery since. */
  #announced = false;

  constructor(log: Log, clock: Pick<Clock, "nowMs">) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Logs the failure unless one was logged a short while ago. */
  failed(fields: Record<string, unknown>, text: string, level: "warn" | "error" = "warn"): void {
    const nowMs = this.#clock.nowMs();
    // A long time without failures: the next one is a new story.
    if (nowMs > this.#nextMs + MAX_PAUSE_MS) this.#pauseMs = FIRST_PAUSE_MS;
    if (nowMs < this.#nextMs) return;
    this.#log[level](fields, text);
    this.#announced = true;
    this.#nextMs = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, MAX_PAUSE_MS);
  }

  /** Logs the text if the failure before it was logged. */
  recovered(fields: Record<string, unknown>, text: string): void {
    if (!this.#announced) return;
    this.#announced = false;
    this.#log.info(fields, text);
  }
}
