/** The listeners of one source of kernel events. */

import type { Resource, ResourceKey } from "../../state/resource.ts";
import type { KernelEvent, KernelListener } from "./kernel_event.ts";

export class Listeners {
  readonly #listeners = new Set<KernelListener>();
  readonly #onLastLeft: () => void;

  constructor(onLastLeft: () => void) {
    this.#onLastLeft = onLastLeft;
  }

  /** Adds a listener until the result is disposed. */
  add(listener: KernelListener): Disposable {
    const added: KernelListener = (event) => listener(event); // one function may be added twice
    this.#listeners.add(added);
    return {
      [Symbol.dispose]: () => {
        if (this.#listeners.delete(added) && this.#listeners.size === 0) this.#onLastLeft();
      },
    };
  }

  notify(event: KernelEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Notifies of the differences between two readings of a table, first of deleted entries. */
  notifyDifferences<Entry extends Resource>(
    before: ReadonlyMap<ResourceKey, Entry>,
    after: ReadonlyMap<ResourceKey, Entry>,
    isSame: (known: Entry, read: Entry) => boolean,
  ): void {
    for (const [key, resource] of before) {
      if (!after.has(key)) this.notify({ kind: "changed", resource, deleted: true });
    }
    for (const [key, resource] of after) {
      const known = before.get(key);
      if (known === undefined || !isSame(known, resource)) {
        this.notify({ kind: "changed", resource, deleted: false });
      }
    }
  }

  clear(): void {
    this.#listeners.clear();
  }
}
