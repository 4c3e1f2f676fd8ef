/**
 * Notifications that this program's own changes will cause. They are recognised so that they are
 * not taken for somebody else's, above all when two changes to one entry follow each other closely
 * and the notification of the first arrives after the second.
 */

import type { Resource, ResourceKey } from "../state/resource.ts";
import { sameResource } from "../state/same_resource.ts";
import type { Step } from "../state/step.ts";
import type { Clock } from "../base/clock.ts";

/** The kernel queues a notification before it answers, so an echo is never far behind. */
const WINDOW_MS = 250;

export class OwnChanges {
  readonly #clock: Clock;
  /** Two generations, so that forgetting costs nothing per echo. */
  #young: Generation = new Map();
  #old: Generation = new Map();
  #youngSinceMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#youngSinceMs = clock.nowMs();
  }

  /** The steps will be sent now. */
  expect(steps: ReadonlyMap<Step, ResourceKey>): void {
    this.#age();
    for (const [step, key] of steps) {
      const expected = this.#young.get(key);
      if (expected === undefined) this.#young.set(key, step);
      else this.#young.set(key, Array.isArray(expected) ? [...expected, step] : [expected, step]);
    }
  }

  /** The step was refused: there will be no echo. */
  cancel(key: ResourceKey, step: Step): void {
    this.#take(key, step.resource, step.op === "delete");
  }

  /**
   * What a notification is: somebody else's, an echo of a change that was followed by others, or
   * the echo of the last change to this entry.
   */
  classify(key: ResourceKey, resource: Resource, deleted: boolean): "foreign" | "earlier" | "last" {
    this.#age();
    if (this.#young.size === 0 && this.#old.size === 0) return "foreign";
    if (!this.#take(key, resource, deleted)) return "foreign";
    return this.#old.has(key) || this.#young.has(key) ? "earlier" : "last";
  }

  /** Whether the echo of a change to this entry is still to come. */
  isExpected(key: ResourceKey): boolean {
    this.#age();
    return this.#old.has(key) || this.#young.has(key);
  }

  #take(key: ResourceKey, resource: Resource, deleted: boolean): boolean {
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
  }
}

/** One step nearly always; a list when an entry is changed again before its echo is heard. */
type Generation = Map<ResourceKey, Step | readonly Step[]>;
