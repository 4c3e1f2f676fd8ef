/** Those who want to be told of changes in the kernel's tables. */

import type { KernelEvent } from "./kernel_event.ts";

type Listener = (event: KernelEvent) => void;

export class Listeners {
  readonly #listeners = new Set<Listener>();
  readonly #onLastLeft: () => void;

  constructor(onLastLeft: () => void) {
    this.#onLastLeft = onLastLeft;
  }

  /** One that is told until it is disposed of. */
  add(listener: Listener): Disposable {
    const tell: Listener = (event) => listener(event); // a function may be given twice
    this.#listeners.add(tell);
    return {
      [Symbol.dispose]: () => {
        if (this.#listeners.delete(tell) && this.#listeners.size === 0) this.#onLastLeft();
      },
    };
  }

  tell(event: KernelEvent): void {
    for (const tell of this.#listeners) tell(event);
  }

  clear(): void {
    this.#listeners.clear();
  }
}
