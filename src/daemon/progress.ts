/**
 * How far the daemon has come, for those who ask: systemd's status line and `/readyz`.
 *
 * Parts report what keeps the node from being ready; a node without reports is ready.
 */

import type { Notifier } from "../health/sd_notify.ts";

export class Progress {
  readonly #notifier: Notifier;
  readonly #checks: (() => readonly string[])[] = [];
  /** What start-up waits for; `undefined` once it is through. */
  #step: string | undefined = "starting";
  #summary: () => string = () => "";
  #lastStatus = "";

  constructor(notifier: Notifier) {
    this.#notifier = notifier;
  }

  /** Start-up has come to this step, as in "waiting for etcd". */
  step(text: string): void {
    this.#step = text;
    this.#notify(text);
  }

  /** Adds a part whose problems count from now on; returns at each call what is wrong now. */
  addCheck(check: () => readonly string[]): void {
    this.#checks.push(check);
  }

  /** Start-up is through; `summary` says what this node holds, at any time. */
  ready(summary: () => string): void {
    this.#step = undefined;
    this.#summary = summary;
    this.#lastStatus = summary();
    this.#notifier.ready(this.#lastStatus);
  }

  /** Why the node is not ready, one line each; empty when it is. */
  problems(): readonly string[] {
    const problems = this.#checks.flatMap((check) => check());
    return this.#step === undefined ? problems : [this.#step, ...problems];
  }

  /** Looks now and then whether there is something new to tell systemd; never without systemd. */
  keepRefreshed(periodMs: number): Disposable {
    if (!this.#notifier.isActive) return { [Symbol.dispose]: () => undefined };
    const timer = setInterval(() => this.refresh(), periodMs);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  /** Tells systemd again if what there is to tell has changed. */
  refresh(): void {
    if (this.#step !== undefined) return;
    const [first, ...rest] = this.problems();
    const more = rest.length > 0 ? ` (and ${rest.length} more)` : "";
    const summary = this.#summary();
    this.#notify(first === undefined ? summary : `${summary}; ${first}${more}`);
  }

  #notify(text: string): void {
    if (text === this.#lastStatus) return;
    this.#lastStatus = text;
    this.#notifier.status(text);
  }
}
