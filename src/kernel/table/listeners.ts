/** The listeners of one source of kernel events. */

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

  clear(): void {
    this.#listeners.clear();
  }
}
