/** Failures that repeat, such as an etcd that is away for hours, as few lines instead of thousands. */

import type { Log } from "./log.ts";

export interface RepeatedFailureOptions {
  readonly log: Log;
  /** What fails, as the subject of "… fails" and "… works again", such as `reading the kernel`. */
  readonly what: string;
  readonly level?: "warn" | "error";
  /** Monotonic milliseconds. */
  readonly nowMs?: () => number;
  /** Pause after the first line, doubled after each further one up to the longest. */
  readonly firstPauseMs?: number;
  readonly longestPauseMs?: number;
}

/** One thing that can fail again and again. */
export class RepeatedFailure {
  readonly #options: Required<RepeatedFailureOptions>;
  readonly #reasons = new Map<string, Reason>();
  #failures = 0;
  #firstFailureMs = 0;
  /** A failure was logged since it last worked. */
  #announced = false;
  /** Of something that comes and goes: how long nothing more is logged after it works again. */
  #restMs = 0;
  #restsUntilMs = -Infinity;

  constructor(options: RepeatedFailureOptions) {
    this.#options = {
      level: "warn",
      nowMs: () => performance.now(),
      firstPauseMs: 60_000,
      longestPauseMs: 3_600_000,
      ...options,
    };
  }

  /** Failures since it last worked. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Reports a failure. A new reason is logged at once, the same one again after 1, 2, 4 … 60
   * minutes, with how often it was seen. Reasons beyond the eighth share one allowance. What has
   * failed and worked again more than once is left alone for 10, 20 … 300 seconds each time.
   */
  failed(error: unknown, level = this.#options.level): void {
    const { log, nowMs, firstPauseMs, longestPauseMs, what } = this.#options;
    const now = nowMs();
    if (this.#failures++ === 0) {
      this.#firstFailureMs = now;
      if (now > this.#restsUntilMs + LONGEST_REST_MS) this.#restMs = 0;
    }
    const text = error instanceof Error ? error.message : String(error);
    const key = this.#reasons.has(text) || this.#reasons.size < MAX_REASONS ? text : OTHER;
    const reason = this.#reasons.get(key) ??
      { unseen: 0, nextMs: Math.max(now, this.#restsUntilMs), pauseMs: firstPauseMs };
    this.#reasons.set(key, reason);
    reason.unseen++;
    if (now < reason.nextMs) return;
    const repeated = reason.unseen > 1
      ? ` (${reason.unseen} times since it was last logged, for ${
        durationText(now - this.#firstFailureMs)
      })`
      : "";
    log[level](`${what} fails${repeated}: ${text}`);
    this.#announced = true;
    reason.nextMs = now + reason.pauseMs;
    reason.pauseMs = Math.min(reason.pauseMs * 2, longestPauseMs);
    reason.unseen = 0;
  }

  /** Reports that it works; logs this if a failure was logged before. */
  succeeded(): void {
    if (this.#announced) this.#logSuccess();
    this.#announced = false;
    this.#failures = 0;
    this.#reasons.clear();
  }

  #logSuccess(): void {
    const { log, nowMs, what } = this.#options;
    const now = nowMs();
    const times = this.#failures === 1 ? "1 failure" : `${this.#failures} failures`;
    log.info(
      `${what} works again after ${times}, ${durationText(now - this.#firstFailureMs)}`,
    );
    this.#restsUntilMs = now + this.#restMs;
    this.#restMs = Math.min(Math.max(FIRST_REST_MS, this.#restMs * 2), LONGEST_REST_MS);
  }
}

interface Reason {
  /** Times it was seen since its last line, this one included. */
  unseen: number;
  nextMs: number;
  pauseMs: number;
}

const FIRST_REST_MS = 10_000;
const LONGEST_REST_MS = 300_000;
const MAX_REASONS = 8;
const OTHER = "";

/** `3 ms`, `12 s`, `5 min 3 s`, `2 h 10 min`. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
