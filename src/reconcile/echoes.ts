/**
 * Notifications that this program's own changes will cause. They are recognised so that they are
 * not taken for somebody else's, above all when two changes to one entry follow each other closely
 * and the notification of the first arrives after the second.
 */

import type { Resource, ResourceKey } from "../state/resource.ts";
import { sameResource } from "../state/same_resource.ts";
import type { Clock } from "./clock.ts";

/** The kernel queues a notification before it answers, so an echo is never far behind. */
const WINDOW_MS = 250;

interface Echo {
  readonly resource: Resource;
  readonly deleted: boolean;
}

export class Echoes {
  readonly #clock: Clock;
  /** Two generations, so that forgetting costs nothing per echo. */
  #young = new Map<ResourceKey, Echo[]>();
  #old = new Map<ResourceKey, Echo[]>();
  #bornMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#bornMs = clock.nowMs();
  }

  expect(key: ResourceKey, resource: Resource, deleted: boolean): void {
    this.#age();
    const echoes = this.#young.get(key);
    if (echoes === undefined) this.#young.set(key, [{ resource, deleted }]);
    else echoes.push({ resource, deleted });
  }

  /** The change was refused: there will be no echo. */
  cancel(key: ResourceKey, resource: Resource, deleted: boolean): void {
    this.#take(key, resource, deleted);
  }

  /**
   * What a notification is: somebody else's, an echo of a change that was followed by others, or
   * the echo of the last change to this entry.
   */
  classify(key: ResourceKey, resource: Resource, deleted: boolean): "foreign" | "earlier" | "last" {
    this.#age();
    if (!this.#take(key, resource, deleted)) return "foreign";
    return this.isExpected(key) ? "earlier" : "last";
  }

  /** Whether the echo of a change to this entry is still to come. */
  isExpected(key: ResourceKey): boolean {
    this.#age();
    return this.#old.has(key) || this.#young.has(key);
  }

  #take(key: ResourceKey, resource: Resource, deleted: boolean): boolean {
    for (const generation of [this.#old, this.#young]) {
      const echoes = generation.get(key);
      const index = echoes?.findIndex((echo) =>
        echo.deleted === deleted && (deleted || sameResource(echo.resource, resource))
      ) ?? -1;
      if (echoes === undefined || index < 0) {
        continue;
      }
      // Notifications keep their order: those expected before this one caused none.
      echoes.splice(0, index + 1);
      if (echoes.length === 0) {
        generation.delete(key);
      }
      if (generation === this.#young) {
        this.#old.delete(key);
      }
      return true;
    }
    return false;
  }

  #age(): void {
    const now = this.#clock.nowMs();
    const ageMs = now - this.#bornMs;
    if (ageMs < WINDOW_MS) return;
    this.#old = ageMs < 2 * WINDOW_MS ? this.#young : new Map();
    this.#young = new Map();
    this.#bornMs = now;
  }
}
