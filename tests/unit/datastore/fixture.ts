/** A store for one test, on tmpfs, with a clock that the test moves. */

import { mkdtempSync, rmSync } from "node:fs";
import { LeaseClock } from "../../../src/datastore/mvcc/lease_clock.ts";
import { Lessor } from "../../../src/datastore/mvcc/lessor.ts";
import { Storage } from "../../../src/datastore/mvcc/storage.ts";
import { MvccStore } from "../../../src/datastore/mvcc/mvcc_store.ts";
import { WatchHub } from "../../../src/datastore/mvcc/watch_hub.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The datastore without its server. Disposing it removes the data. */
export class TestStore implements Disposable {
  readonly clock = new FakeClock();
  readonly directory = mkdtempSync("/dev/shm/datastore-test-");
  storage!: Storage;
  store!: MvccStore;
  leases!: Lessor;
  hub!: WatchHub;
  /** The log of the leases. */
  records: readonly LogRecord[] = [];
  #leaseClock!: LeaseClock;

  constructor() {
    this.#open();
  }

  [Symbol.dispose](): void {
    this.#close();
    rmSync(this.directory, { recursive: true });
  }

  /** Stops and, `downMs` later, starts again. */
  async restart(downMs = 0): Promise<void> {
    this.store.writeLeases(() => {});
    this.#close();
    await this.clock.advance(downMs);
    this.#open();
  }

  /** Starts after the test has closed the storage itself. */
  reopen(): void {
    this.hub[Symbol.dispose]();
    this.#open();
  }

  put(key: string, value = "", lease = 0n): bigint {
    return this.store.write((transaction) => {
      const entry = { key: bytes(key), value: bytes(value), lease };
      transaction.put(entry, transaction.get(entry.key));
      return transaction.revision;
    });
  }

  delete(key: string): void {
    this.store.write((transaction) => transaction.delete([bytes(key)]));
  }

  /** All current keys, or those of a revision, as `key=value`. */
  contents(revision = 0n): string[] {
    const range = { start: new Uint8Array(), end: undefined };
    return this.store.read(range, { revision }).entries
      .map(({ key, value }) => `${text(key)}=${text(value)}`);
  }

  #open(): void {
    const { clock } = this;
    const { log, records } = collectingLog();
    this.records = records;
    this.storage = new Storage(this.directory);
    this.#leaseClock = new LeaseClock(clock, this.storage.readState().clockMs);
    this.store = new MvccStore(this.storage, () => this.#leaseClock.nowMs());
    const { store, storage } = this;
    this.leases = new Lessor({ store, storage, leaseClock: this.#leaseClock, clock, log });
    this.hub = new WatchHub({ store, clock, progressNotifyMs: 600_000 });
  }

  #close(): void {
    this.hub[Symbol.dispose]();
    this.leases[Symbol.dispose]();
    this.storage[Symbol.dispose]();
  }
}
