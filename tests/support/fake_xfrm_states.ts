/** IPsec states that a test sets. By default the kernel supports ESP and lacks no state. */

import type { XfrmStateEnds, XfrmStates } from "../../src/kernel/xfrm/xfrm_states.ts";

export class FakeXfrmStates implements XfrmStates {
  hasEsp = true;
  /** How often ESP was asked for. */
  espQueries = 0;
  isDisposed = false;
  readonly #listeners = new Set<(ends: XfrmStateEnds | undefined) => void>();

  get isWatched(): boolean {
    return this.#listeners.size > 0;
  }

  lacksEsp(): boolean {
    this.espQueries++;
    return !this.hasEsp;
  }

  lacks(): boolean {
    return false;
  }

  watch(listener: (ends: XfrmStateEnds | undefined) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Reports that the state with these ends was deleted; `undefined` for any number of states. */
  reportDeleted(ends: XfrmStateEnds | undefined): void {
    for (const listener of this.#listeners) listener(ends);
  }

  [Symbol.dispose](): void {
    this.isDisposed = true;
  }
}
