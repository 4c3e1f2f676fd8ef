/**
 * Group commit: the writes of several clients that wait at the same time share one fsync(2).
 *
 * While the disk is written to, the program stands still, and requests gather in their sockets; they
 * are read together and committed together. None of them can be seen, by a read or by a watch, before
 * all of them are on disk.
 */

import { RequestError } from "./request_error.ts";
import type { MvccStore, WriteTransaction } from "./mvcc_store.ts";

export interface Written<T> {
  readonly result: T;
  /** The store's revision after this write. */
  readonly revision: bigint;
}

interface Waiting {
  readonly act: (transaction: WriteTransaction) => void;
  readonly written: (revision: bigint) => void;
  readonly failed: (error: unknown) => void;
}

export class CommitQueue implements Disposable {
  readonly #store: MvccStore;
  #waiting: Waiting[] = [];

  constructor(store: MvccStore) {
    this.#store = store;
  }

  /** Writes what still waits. */
  [Symbol.dispose](): void {
    this.#flush();
  }

  /**
   * Runs `act` as one revision, soon, and resolves when it is on disk. Rejects with what `act` or the
   * disk throws; then it has changed nothing, and has not kept others from it. `act` may run twice.
   */
  write<T>(act: (transaction: WriteTransaction) => T): Promise<Written<T>> {
    if (this.#waiting.length === 0) setImmediate(() => this.#flush());
    return new Promise((resolve, reject) => {
      let result: T;
      this.#waiting.push({
        act: (transaction) => result = act(transaction),
        written: (revision) => resolve({ result, revision }),
        failed: reject,
      });
    });
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length > 0) this.#commit(waiting);
  }

  #commit(waiting: readonly Waiting[]): void {
    try {
      const revisions = this.#store.writeEach(waiting.map(({ act }) => act));
      for (const [index, one] of waiting.entries()) one.written(revisions[index] as bigint);
    } catch (error) {
      // One of them is refused, or the disk has no room for all of them: then each on its own.
      if (error instanceof RequestError && waiting.length > 1) {
        for (const one of waiting) this.#commit([one]);
      } else {
        for (const one of waiting) one.failed(error);
      }
    }
  }
}
