/** The entries that are not as they should be, with the reason, and what the log says of them. */

import type { Log } from "../log/log.ts";
import type { KernelError } from "../kernel/kernel.ts";
import type { Resource } from "../state/resource.ts";
import { resourceText } from "../state/resource_text.ts";
import type { Step } from "../state/step.ts";
import { backoffMs, type Clock } from "../base/clock.ts";
import type { EntryFailure, TrackedEntry } from "./entry_table.ts";

const RETRY = { firstMs: 100, maxMs: 30_000 };

/** The entries that are not as they should be, but for those that wait for their device. */
export interface ReconcilerStatus {
  readonly failing: readonly EntryProblem[];
  /** Entries whose key somebody else holds. */
  readonly conflicts: readonly EntryProblem[];
}

export interface EntryProblem {
  /** The entry in `ip` notation. */
  readonly text: string;
  readonly error: string;
}

/** A step that the kernel refused. */
export interface FailedStep {
  readonly entry: TrackedEntry;
  readonly step: Step;
  readonly error: KernelError;
}

export class Failures {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #entries = new Set<TrackedEntry>();

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  entries(): IterableIterator<TrackedEntry> {
    return this.#entries.values();
  }

  /** When the first of them is to be tried again, in milliseconds of the clock; Infinity for never. */
  get nextRetryMs(): number {
    let nextMs = Infinity;
    for (const { failure: trouble } of this.#entries) {
      nextMs = Math.min(nextMs, (trouble as EntryFailure).retryAtMs);
    }
    return nextMs;
  }

  /** Steps that failed together: each is tried again, later each time. */
  addFailed(steps: readonly FailedStep[]): void {
    const fresh = new Map<string, { count: number; message: string }>();
    for (const { entry, step, error } of steps) {
      const attempts = (entry.failure?.kind === "failing" ? entry.failure.attempts : 0) + 1;
      this.#set(entry, {
        kind: "failing",
        message: error.reason,
        attempts,
        retryAtMs: this.#clock.nowMs() + backoffMs(attempts, RETRY, this.#clock),
      });
      // A failure is told the first, second, fourth, … time it happens, and with it those like it.
      if ((attempts & (attempts - 1)) !== 0) continue;
      const kind = `${step.op} ${step.resource.kind} ${error.errno}`;
      const told = fresh.get(kind);
      const message = `cannot ${step.op} ${resourceText(step.resource)}: ${error.reason}`;
      if (told === undefined) fresh.set(kind, { count: 1, message });
      else told.count++;
    }
    for (const { count, message } of fresh.values()) {
      this.#log.warn(count === 1 ? message : `${message} (and ${count - 1} more like it)`);
    }
  }

  /** Somebody else holds the entry's key: nothing is done until that changes. */
  addConflict(entry: TrackedEntry, holder: Resource): void {
    const message = `somebody else holds its place: ${resourceText(holder)}`;
    if (entry.failure?.kind !== "conflict" || entry.failure.message !== message) {
      this.#log.warn(
        `cannot set ${resourceText(entry.desired as Resource)}: ${message}; ` +
          "it is left alone, remove it to let this one take its place",
      );
    }
    this.#set(entry, { kind: "conflict", message, attempts: 1, retryAtMs: Infinity });
  }

  /** Somebody else keeps changing the entry: it is put right again only after `delayMs`. */
  addDamped(entry: TrackedEntry, { delayMs, round }: { delayMs: number; round: number }): void {
    const found = entry.actual === undefined ? "removed" : `made ${resourceText(entry.actual)}`;
    const message = `something on this host keeps changing it; the last time it was ${found}`;
    this.#log.warn(
      `${entryText(entry)}: ${message}; it is put right again in ${Math.ceil(delayMs / 1000)} s`,
    );
    const retryAtMs = this.#clock.nowMs() + delayMs;
    this.#set(entry, { kind: "contended", message, attempts: round, retryAtMs });
  }

  /** The entry is in order, or wanted otherwise. */
  clear(entry: TrackedEntry, recovered?: "recovered"): void {
    if (entry.failure === undefined) return;
    if (recovered && entry.failure.attempts > 1) {
      this.#log.info(`${entryText(entry)} is in order again`);
    }
    entry.failure = undefined;
    this.#entries.delete(entry);
  }

  status(): ReconcilerStatus {
    const failing: EntryProblem[] = [];
    const conflicts: EntryProblem[] = [];
    for (const entry of this.#entries) {
      const { kind, message } = entry.failure as EntryFailure;
      const list = kind === "conflict" ? conflicts : failing;
      list.push({ text: entryText(entry), error: message });
    }
    return { failing, conflicts };
  }

  #set(entry: TrackedEntry, trouble: EntryFailure): void {
    entry.failure = trouble;
    this.#entries.add(entry);
  }
}

function entryText(entry: TrackedEntry): string {
  const resource = entry.desired ?? entry.actual;
  return resource === undefined ? entry.key : resourceText(resource);
}
