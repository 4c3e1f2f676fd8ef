/** Entries that have to be looked at: in the next pass, or when the device they wait for is there. */

import type { ResourceKey } from "../state/resource.ts";
import type { Clock } from "../base/clock.ts";
import type { TrackedEntry } from "./entry_table.ts";

export interface WorkListOptions {
  readonly clock: Clock;
  /** Told when there is something to do. */
  readonly onWork: () => void;
}

export class WorkList {
  readonly #clock: Clock;
  readonly #onWork: () => void;
  readonly #keys = new Set<ResourceKey>();
  /** Waiting for a device, by its name. */
  readonly #waiting = new Map<string, Set<ResourceKey>>();

  constructor({ clock, onWork }: WorkListOptions) {
    this.#clock = clock;
    this.#onWork = onWork;
  }

  /** Entries to be looked at in the next pass. */
  get size(): number {
    return this.#keys.size;
  }

  keys(): IterableIterator<ResourceKey> {
    return this.#keys.values();
  }

  /** The entry must be looked at soon; one that is fought over when its time has come. */
  add(entry: TrackedEntry): void {
    const { failure: trouble } = entry;
    // A fight is not fought faster because the other side moved again.
    if (trouble?.kind === "contended" && trouble.retryAtMs > this.#clock.nowMs()) return;
    this.#keys.add(entry.key);
    this.#onWork();
  }

  /** To be looked at in the pass that is under way, or in the next. */
  addToPass(key: ResourceKey): void {
    this.#keys.add(key);
  }

  /** Takes an entry from the list; whether it was there. */
  take(key: ResourceKey): boolean {
    return this.#keys.delete(key);
  }

  /** Nothing can be done about the entry before something happens to this device. */
  waitFor(device: string, key: ResourceKey): void {
    const waiting = this.#waiting.get(device);
    if (waiting === undefined) this.#waiting.set(device, new Set([key]));
    else waiting.add(key);
  }

  /** Something happened to a device: what waits for it is looked at again. */
  wake(device: string): void {
    const waiting = this.#waiting.get(device);
    if (waiting === undefined) return;
    this.#waiting.delete(device);
    for (const key of waiting) this.#keys.add(key);
    this.#onWork();
  }
}
