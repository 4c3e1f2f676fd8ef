/**
 * The notifications that this program's own changes will cause. They are recognized, so that they
 * do not count as changes by another program, above all when two changes to one entry are made in
 * quick succession and the notification of the first arrives after the second.
 */

import type { Resource, ResourceKey } from "../state/resource.ts";
import { sameResource } from "../state/same_resource.ts";
import type { Step } from "../state/step.ts";
import type { Clock } from "../base/clock.ts";

/** The kernel queues a notification before it acknowledges, so it is never far behind. */
const WINDOW_MS = 250;

/** An entry as a notification shows it: set, or deleted. */
export interface EntryChange<Entry extends Resource = Resource> {
  readonly resource: Entry;
  readonly deleted: boolean;
}

/**
 * What caused a notification: another program, our last change to the entry, or one before it.
 * "contested": our last change, but since then another notification was taken for a foreign one. It
 * may have been ours and late, so it was older.
 */
export type ChangeOrigin = "foreign" | "earlier" | "last" | "contested";

export class OwnChanges {
  readonly #clock: Clock;
  /** Two generations, so that forgetting costs nothing per step. */
  #young: Generation = new Map();
  #old: Generation = new Map();
  #youngSinceMs: number;
  /** Entries with a foreign change since the last one of ours that is yet to be notified of. */
  readonly #contested = new Set<ResourceKey>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#youngSinceMs = clock.nowMs();
  }

  /** The steps are about to be sent. */
  expect(steps: ReadonlyMap<Step, ResourceKey>): void {
    this.#age();
    for (const [step, key] of steps) {
      const expected = this.#young.get(key);
      if (expected === undefined) this.#young.set(key, step);
      else this.#young.set(key, Array.isArray(expected) ? [...expected, step] : [expected, step]);
    }
  }

  /** The step was refused: it causes no notification. */
  cancel(key: ResourceKey, { op, resource }: Step): void {
    this.#take(key, { resource, deleted: op === "delete" });
  }

  /** What caused this notification. */
  classify(key: ResourceKey, change: EntryChange): ChangeOrigin {
    this.#age();
    if (this.#young.size === 0 && this.#old.size === 0) return "foreign";
    const isOurs = this.#take(key, change);
    const isMoreExpected = this.#hasExpected(key);
    if (isOurs) {
      return isMoreExpected ? "earlier" : this.#contested.delete(key) ? "contested" : "last";
    }
    if (isMoreExpected) this.#contested.add(key);
    return "foreign";
  }

  /** Whether a notification of our change to this entry is yet to come. */
  isExpected(key: ResourceKey): boolean {
    this.#age();
    return this.#hasExpected(key);
  }

  #hasExpected(key: ResourceKey): boolean {
    return this.#old.has(key) || this.#young.has(key);
  }

  #take(key: ResourceKey, { resource, deleted }: EntryChange): boolean {
    for (const generation of [this.#old, this.#young]) {
      const expected = generation.get(key);
      if (expected === undefined) continue;
      const steps = Array.isArray(expected) ? expected : [expected];
      const index = steps.findIndex((step) =>
        (step.op === "delete") === deleted && (deleted || sameResource(step.resource, resource))
      );
      if (index < 0) continue;
      // Notifications keep their order: those expected before this one caused none.
      const later = steps.slice(index + 1);
      if (later.length === 0) generation.delete(key);
      else generation.set(key, later);
      if (generation === this.#young) this.#old.delete(key);
      return true;
    }
    return false;
  }

  #age(): void {
    const now = this.#clock.nowMs();
    const ageMs = now - this.#youngSinceMs;
    if (ageMs < WINDOW_MS) return;
    this.#old = ageMs < 2 * WINDOW_MS ? this.#young : new Map();
    this.#young = new Map();
    this.#youngSinceMs = now;
    for (const key of this.#contested) if (!this.#hasExpected(key)) this.#contested.delete(key);
  }
}

/** Nearly always one step; a list if an entry is changed again before its notification arrives. */
type Generation = Map<ResourceKey, Step | readonly Step[]>;
