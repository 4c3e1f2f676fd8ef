/** Failures that repeat, such as an etcd that is away for hours, as few lines instead of thousands. */

import type { Log } from "./log.ts";

export interface RepeatedFailureOptions {
  readonly log: Log;
  /** What fails, as the subject of "… works again", such as `the connection to etcd`. */
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
   * minutes, with how often it was seen. Reasons beyond the eighth share one allowance.
   */
  failed(error: unknown, fields: Readonly<Record<string, unknown>> = {}): void {
    const { log, level, nowMs, firstPauseMs, longestPauseMs, what } = this.#options;
    const now = nowMs();
    if (this.#failures++ === 0) this.#firstFailureMs = now;
    const text = error instanceof Error ? error.message : String(error);
    const key = this.#reasons.has(text) || this.#reasons.size < MAX_REASONS ? text : OTHER;
    const reason = this.#reasons.get(key) ?? { unseen: 0, nextMs: now, pauseMs: firstPauseMs };
    this.#reasons.set(key, reason);
    reason.unseen++;
    if (now < reason.nextMs) return;
    const repeated = reason.unseen > 1
      ? ` (${reason.unseen} times since it was last logged, for ${
        durationText(now - this.#firstFailureMs)
      })`
      : "";
    log[level](fields, `${what} fails${repeated}: ${text}`);
    reason.nextMs = now + reason.pauseMs;
    reason.pauseMs = Math.min(reason.pauseMs * 2, longestPauseMs);
    reason.unseen = 0;
  }

  /** Reports that it works; logs this if it failed before. */
  succeeded(): void {
    if (this.#failures === 0) return;
    const { log, nowMs, what } = this.#options;
    const times = this.#failures === 1 ? "1 failure" : `${this.#failures} failures`;
    log.info(
      `${what} works again after ${times}, ${durationText(nowMs() - this.#firstFailureMs)}`,
    );
    this.#failures = 0;
    this.#reasons.clear();
  }
}

interface Reason {
  /** Times it was seen since its last line, this one included. */
  unseen: number;
  nextMs: number;
  pauseMs: number;
}

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
