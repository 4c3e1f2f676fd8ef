/**
 * How far the daemon has come, for those who ask: systemd's status line and `/readyz`.
 *
 * Parts report what keeps the node from being ready; a node without reports is ready. During the start
 * the current step is reported too, with its last log line, because parts log what they wait for.
 */

import type { Log } from "../log/log.ts";
import { observedLog } from "../log/observed_log.ts";
import type { Notifier } from "../health/sd_notify.ts";

export class Readiness {
  readonly #notifier: Notifier;
  readonly #checks: (() => readonly string[])[] = [];
  /** What start-up waits for; `undefined` once it is through. */
  #step: string | undefined = "starting";
  /** The last log line since that step began. */
  #lastLine: string | undefined;
  #summary: () => string = () => "";
  #lastStatus = "";

  constructor(notifier: Notifier) {
    this.#notifier = notifier;
  }

  /** Start-up has reached this step, as in "waiting for etcd". Details are taken from the log. */
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

  /** Adds a part whose problems count from now on; returns at each call what is wrong now. */
  addCheck(check: () => readonly string[]): void {
    this.#checks.push(check);
  }

  /** Start-up is through; `summary` says what this node holds, at any time. */
  ready(summary: () => string): void {
    this.#step = this.#lastLine = undefined;
    this.#summary = summary;
    this.#lastStatus = summary();
    this.#notifier.ready(this.#lastStatus);
  }

  /** Why the node is not ready, one line each; empty when it is. */
  problems(): readonly string[] {
    const problems = this.#checks.flatMap((check) => check());
    if (this.#step === undefined) return problems;
    const line = this.#lastLine;
    const said = line === undefined ? [] : [`last in the log: ${line.slice(0, MAX_LINE_LENGTH)}`];
    return [this.#step, ...problems, ...said];
  }

  /** Looks now and then whether there is something new to tell systemd; never without systemd. */
  keepRefreshed(periodMs: number): Disposable {
    if (!this.#notifier.isActive) return { [Symbol.dispose]: () => undefined };
    const timer = setInterval(() => this.refresh(), periodMs);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  /** Tells systemd again if what there is to tell has changed. */
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

/** Characters of a log line, which may contain text from outside. */
const MAX_LINE_LENGTH = 500;
