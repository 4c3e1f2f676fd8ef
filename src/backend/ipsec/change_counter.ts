/** Counts changes, and records which have been applied. */

export class ChangeCounter {
  #changes = 0;
  #applied = 0;
  #wake = Promise.withResolvers<void>();
  #settled = Promise.withResolvers<void>();

  add(): void {
    this.#changes++;
    this.wake();
  }

  /** Resolves `untilWoken` without a change. */
  wake(): void {
    this.#wake.resolve();
  }

  /** Begins to apply all changes so far; returns their number. */
  begin(): number {
    this.#wake = Promise.withResolvers();
    return this.#changes;
  }

  /** The changes up to this number have been applied, or cannot be. */
  settle(number: number): void {
    this.#applied = number;
    this.#settled.resolve();
    this.#settled = Promise.withResolvers();
  }

  settleAll(): void {
    this.settle(this.#changes);
  }

  isLatest(number: number): boolean {
    return number === this.#changes;
  }

  /** Resolves at the first change or `wake` after `begin`. */
  untilWoken(): Promise<void> {
    return this.#wake.promise;
  }

  async whenSettled(): Promise<void> {
    while (this.#applied < this.#changes) await this.#settled.promise;
  }
}
