/**
 * Group commit: the writes of several clients that wait at the same time share one fsync(2).
 *
 * The fsync blocks the program, and requests accumulate in the sockets meanwhile; they are then
 * read together and committed together. No read and no watch sees one of them before all are on
 * disk.
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

  /** Performs the pending writes. */
  [Symbol.dispose](): void {
    this.#flush();
  }

  /**
   * Runs `act` as one revision, soon, and resolves when it is on disk. Rejects with what `act` or
   * the disk throws; it has changed nothing then, and the other writes are not affected. `act` may
   * run twice.
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
      // One of them is invalid, or the disk has no room for all of them: commit each alone.
      if (error instanceof RequestError && waiting.length > 1) {
        for (const one of waiting) this.#commit([one]);
      } else {
        for (const one of waiting) one.failed(error);
      }
    }
  }
}
