/** The entries that are out of sync, with the reason, and what the log says about them. */

import type { Log } from "../log/log.ts";
import type { KernelError } from "../kernel/kernel.ts";
import type { Resource } from "../state/resource.ts";
import { resourceText } from "../state/resource_text.ts";
import type { Step } from "../state/step.ts";
import { backoffMs, type Clock } from "../base/clock.ts";
import type { RepairDelay } from "../base/repair_limiter.ts";
import { leaseFields } from "./change_trace.ts";
import type { EntryFailure, KeyConflict, TrackedEntry } from "./entry_table.ts";

const RETRY = { firstMs: 100, maxMs: 30_000 };
const MAX_REPORTED_CONFLICTS = 1000;

/** The entries that are out of sync, except those that wait for their device. */
export interface ReconcilerStatus {
  readonly failing: readonly EntryProblem[];
  /** Entries whose key another program holds. */
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
  readonly #reportedConflicts = new Set<string>();

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  entries(): IterableIterator<TrackedEntry> {
    return this.#entries.values();
  }

  /** When the first retry is due, in milliseconds of the clock; Infinity for never. */
  get nextRetryMs(): number {
    let nextMs = Infinity;
    for (const { failure } of this.#entries) {
      nextMs = Math.min(nextMs, (failure as EntryFailure).retryAtMs);
    }
    return nextMs;
  }

  /** Steps that failed in one batch: each is retried, with growing delays. */
  addFailed(steps: readonly FailedStep[]): void {
    const groups = new Map<string, { count: number; first: FailedStep }>();
    for (const failed of steps) {
      const { entry, step, error } = failed;
      const attempts = (entry.failure?.kind === "failing" ? entry.failure.attempts : 0) + 1;
      this.#set(entry, {
        kind: "failing",
        message: error.reason,
        attempts,
        retryAtMs: this.#clock.nowMs() + backoffMs(attempts, RETRY, this.#clock),
      });
      // The first, second, fourth, … failure is logged, once for all of its kind in the batch.
      if ((attempts & (attempts - 1)) !== 0) continue;
      const kind = `${step.op} ${step.resource.kind} ${error.errno}`;
      const group = groups.get(kind);
      if (group === undefined) groups.set(kind, { count: 1, first: failed });
      else group.count++;
    }
    for (const { count, first: { entry, step, error } } of groups.values()) {
      const message = `cannot ${step.op} ${resourceText(step.resource)}: ${error.reason}`;
      this.#log.warn(
        { ...leaseFields(entry, step.resource), errno: error.errno },
        count === 1 ? message : `${message} (and ${count - 1} more like it)`,
      );
    }
  }

  /** Another program holds the entry's key: nothing is done until that changes. */
  addConflict(entry: TrackedEntry, holder: Resource): void {
    const desired = entry.desired as Resource;
    const message = `conflicts with an existing entry not owned by flanneld: ${
      resourceText(holder)
    }`;
    if (entry.failure?.kind !== "conflict" || entry.failure.message !== message) {
      this.#log.warn(
        leaseFields(entry, desired),
        `cannot set ${resourceText(desired)}: ${message}; ` +
          "delete it to let flanneld install its own",
      );
    }
    this.#set(entry, { kind: "conflict", message, attempts: 1, retryAtMs: Infinity });
  }

  /** Another program keeps modifying the entry: the next repair is delayed. */
  addDamped(entry: TrackedEntry, { delayMs, round }: RepairDelay): void {
    const { actual } = entry;
    const last = actual === undefined ? "removed" : `changed to ${resourceText(actual)}`;
    const message = `another program keeps modifying it (last: ${last})`;
    this.#log.warn(
      leaseFields(entry, entry.desired ?? actual),
      `${entryText(entry)}: ${message}; next repair in ${Math.ceil(delayMs / 1000)} s`,
    );
    const retryAtMs = this.#clock.nowMs() + delayMs;
    this.#set(entry, { kind: "damped", message, attempts: round, retryAtMs });
  }

  /** Two owners desire different entries with one key. Each conflict is logged once. */
  reportKeyConflict({ winner, loser }: KeyConflict): void {
    const message = `conflicting entries: using ${resourceText(winner.resource)} of ` +
      `${winner.owner}, ignoring ${resourceText(loser.resource)} of ${loser.owner}`;
    const reported = this.#reportedConflicts;
    if (reported.has(message) || reported.size >= MAX_REPORTED_CONFLICTS) return;
    reported.add(message);
    this.#log.warn({ lease: loser.owner, winner: winner.owner }, message);
  }

  /** The entry is in sync, or something else is desired now. */
  clear(entry: TrackedEntry): void {
    if (entry.failure === undefined) return;
    entry.failure = undefined;
    this.#entries.delete(entry);
  }

  /** The kernel accepted the entry. Logged if it had failed repeatedly. */
  clearRecovered(entry: TrackedEntry): void {
    if (entry.failure !== undefined && entry.failure.attempts > 1) {
      this.#log.info(
        leaseFields(entry, entry.desired ?? entry.actual),
        `${entryText(entry)} is in sync again`,
      );
    }
    this.clear(entry);
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

  #set(entry: TrackedEntry, failure: EntryFailure): void {
    entry.failure = failure;
    this.#entries.add(entry);
  }
}

function entryText(entry: TrackedEntry): string {
  const resource = entry.desired ?? entry.actual;
  return resource === undefined ? entry.key : resourceText(resource);
}
