/**
 * Whether the node is ready, and what it waits for: systemd's status line, and `/readyz`.
 *
 * The parts report their problems; without one, the node is ready. During the start, the current
 * step is reported with the last log line, since parts log what they wait for.
 */

import { type Clock, repeat } from "../base/clock.ts";
import { truncated } from "../base/quoting.ts";
import type { Notifier } from "../health/sd_notify.ts";
import type { Log } from "../log/log.ts";
import { observedLog } from "../log/observed_log.ts";

export class Readiness {
  readonly #notifier: Notifier;
  readonly #checks: (() => readonly string[])[] = [];
  /** The current step of the start; `undefined` once the node is ready. */
  #step: string | undefined = "starting";
  /** The last log line since that step began. */
  #lastLine: string | undefined;
  #summary: () => string = () => "";
  #lastStatus = "";

  constructor(notifier: Notifier) {
    this.#notifier = notifier;
  }

  /** The start has reached this step, as in "acquiring a subnet in etcd". */
  step(text: string): void {
    this.#step = text;
    this.#lastLine = undefined;
    this.#notify(text);
  }

  /** The log for the parts that are started: its last line explains a step that takes long. */
  observe(log: Log): Log {
    return observedLog(log, (message) => {
      if (this.#step !== undefined) this.#lastLine = message;
    });
  }

  /** Adds a check, which returns the current problems of a part, one line each. */
  addCheck(check: () => readonly string[]): void {
    this.#checks.push(check);
  }

  /** The start is complete. `summary` describes the node's current state. */
  ready(summary: () => string): void {
    this.#step = this.#lastLine = undefined;
    this.#summary = summary;
    this.#lastStatus = summary();
    this.#notifier.ready(this.#lastStatus);
  }

  /** Why the node is not ready, one line each; empty if it is. */
  problems(): readonly string[] {
    const problems = this.#checks.flatMap((check) => check());
    const { start } = this;
    return start === undefined ? problems : [start.step, ...problems, ...start.details];
  }

  /** What the start waits for, and the last log line about it; `undefined` once it is complete. */
  get start(): { readonly step: string; readonly details: readonly string[] } | undefined {
    const [step, line] = [this.#step, this.#lastLine];
    if (step === undefined) return undefined;
    const details = line === undefined
      ? []
      : [`last log line: ${truncated(line, MAX_LINE_LENGTH)}`];
    return { step, details };
  }

  /** Refreshes systemd's status line periodically until disposed; does nothing without systemd. */
  keepRefreshed(periodMs: number, clock: Clock): Disposable {
    if (!this.#notifier.isActive) return { [Symbol.dispose]: () => undefined };
    return repeat(clock, periodMs, () => this.refresh());
  }

  /** Sends systemd the status line if it has changed. */
  refresh(): void {
    const problems = this.problems();
    const [state = "", ...reasons] = this.#step === undefined
      ? [this.#summary(), ...problems]
      : problems;
    const [first, ...rest] = reasons;
    const more = rest.length > 0 ? ` (and ${rest.length} more)` : "";
    this.#notify(first === undefined ? state : `${state}; ${first}${more}`);
  }

  #notify(text: string): void {
    if (text === this.#lastStatus) return;
    this.#lastStatus = text;
    this.#notifier.status(text);
  }
}

/**
 * Characters of a log line, which may contain text from outside. What to do is at its end, after up
 * to 500 characters of a server and several names.
 */
const MAX_LINE_LENGTH = 1500;
