/** Entries that must be planned: in the next pass, or once the device that they need is usable. */

import type { ResourceKey } from "../state/resource.ts";
import type { Clock } from "../base/clock.ts";
import type { TrackedEntry } from "./entry_table.ts";

export interface WorkListOptions {
  readonly clock: Clock;
  /** There is work. */
  readonly onWork: () => void;
}

export class WorkList {
  readonly #clock: Clock;
  readonly #onWork: () => void;
  readonly #keys = new Set<ResourceKey>();
  /** Entries that wait for a device, by its name. */
  readonly #waiting = new Map<string, Set<ResourceKey>>();

  constructor({ clock, onWork }: WorkListOptions) {
    this.#clock = clock;
    this.#onWork = onWork;
  }

  /** Number of entries for the next pass. */
  get size(): number {
    return this.#keys.size;
  }

  keys(): IterableIterator<ResourceKey> {
    return this.#keys.values();
  }

  /** The entry must be planned soon; a damped one when its delay is over. */
  add(entry: TrackedEntry): void {
    const { failure } = entry;
    // Another change by the other program does not shorten the delay.
    if (failure?.kind === "damped" && failure.retryAtMs > this.#clock.nowMs()) return;
    this.#keys.add(entry.key);
    this.#onWork();
  }

  /** Adds an entry during a pass: for this pass, or for the next one. */
  addToPass(key: ResourceKey): void {
    this.#keys.add(key);
  }

  /** Removes an entry from the list. Returns whether it was there. */
  take(key: ResourceKey): boolean {
    return this.#keys.delete(key);
  }

  /** The entry cannot be set before this device changes. */
  waitFor(device: string, key: ResourceKey): void {
    const waiting = this.#waiting.get(device);
    if (waiting === undefined) this.#waiting.set(device, new Set([key]));
    else waiting.add(key);
  }

  /** The device changed: the entries that wait for it are planned again. */
  wake(device: string): void {
    const waiting = this.#waiting.get(device);
    if (waiting === undefined) return;
    this.#waiting.delete(device);
    for (const key of waiting) this.#keys.add(key);
    this.#onWork();
  }
}
