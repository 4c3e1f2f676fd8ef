/**
 * The subnet that this node holds in etcd: renewed before it expires, and restored if it is
 * deleted.
 *
 * Two tasks run until disposed: one keeps the etcd lease alive, one watches the key. They and
 * `update` take turns, so that each sees the key as the one before left it.
 */

import type { NetworkConfig } from "../../config/network_config.ts";
import type { Log } from "../../log/log.ts";
import { RecurringEvent } from "../../log/recurring_event.ts";
import type { Lease, LeaseAttributes } from "../lease.ts";
import { encodeLeaseValue, isInvalidLease } from "../lease_codec.ts";
import type { OwnLease } from "../lease_store.ts";
import { retryUntilSuccess } from "../store_retry.ts";
import type { Clock } from "../../base/clock.ts";
import { SerialQueue } from "../../base/serial_queue.ts";
import type { Etcd, EtcdWatch } from "../../etcd/client/etcd.ts";
import { retryOfEtcd } from "./etcd_failure.ts";
import type { LeaseRecord, LeaseRecords } from "./lease_records.ts";
import { nodeFamily } from "./own_records.ts";
import { RenewalSchedule } from "./renewal_schedule.ts";
import { SUBNET_TTL_SECONDS, UnusedLease } from "./unused_lease.ts";

/** A lease as it was acquired. */
export interface HeldLease {
  readonly lease: Lease;
  /** ID of the etcd lease; 0n for a reservation. */
  readonly etcdLease: bigint;
  /** On the clock's scale; infinite for a reservation. */
  readonly expiresMs: number;
}

export interface OwnLeaseOptions {
  readonly etcd: Etcd;
  readonly records: LeaseRecords;
  readonly config: NetworkConfig;
  readonly held: HeldLease;
  readonly renewMarginMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Makes sure that no other live node has the address; throws `DuplicateNodeError`. */
  claimAddress(
    addresses: LeaseAttributes["publicAddresses"],
    signal: AbortSignal,
  ): Promise<void>;
}

const OTHER_PROCESS = "another process with this node's public address changed this node's lease";

/** A failed renewal is repeated within a minute. */
const RENEWAL_BACKOFF = { firstMs: 5_000, maxMs: 60_000 };
const WRITE_BACKOFF = { firstMs: 500, maxMs: 5_000 };

export class EtcdOwnLease implements OwnLease {
  readonly #options: OwnLeaseOptions;
  readonly #lost = Promise.withResolvers<string>();
  readonly #stopped = new AbortController();
  #lease: Lease;
  #value: string;
  /** What another process with this node's public address wrote, in this node's encoding. */
  #otherValue: string | undefined;
  #etcdLease: bigint;
  readonly #renewal: RenewalSchedule;
  /** Deletions and changes of the key by others. */
  readonly #foreignChange: RecurringEvent;
  readonly #turns = new SerialQueue();
  readonly #tasks: Promise<unknown>;

  constructor(options: OwnLeaseOptions) {
    this.#options = options;
    const { held, log, clock, renewMarginMs: marginMs } = options;
    this.#foreignChange = new RecurringEvent({ log, clock });
    this.#lease = held.lease;
    this.#value = encodeLeaseValue(held.lease.attributes);
    this.#etcdLease = held.etcdLease;
    this.#renewal = new RenewalSchedule({ clock, marginMs, expiresMs: held.expiresMs });
    const task = (run: Promise<void>) =>
      run.catch((error) => this.#stopped.signal.aborted || this.#lost.reject(error));
    this.#tasks = Promise.all([task(this.#keepRenewed()), task(this.#watchKey())]);
  }

  get lease(): Lease {
    return this.#lease;
  }

  get lost(): Promise<string> {
    return this.#lost.promise;
  }

  get remainingMs(): number {
    return this.#renewal.remainingMs;
  }

  get problem(): string | undefined {
    if (this.#otherValue === undefined || this.#otherValue === this.#value) return undefined;
    return `${OTHER_PROCESS}; the other nodes use its values in lease ${this.#lease.key}; stop ` +
      "that process, on this host or on a node with the same address, and restart flanneld";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#tasks;
    await this.#turns.idle();
  }

  /** Gives up the subnet for good: renewal stops, and `lost` resolves with the reason. */
  lose(reason: string): void {
    this.#stopped.abort();
    this.#lost.resolve(reason);
  }

  async update(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    await this.#options.claimAddress(attributes.publicAddresses, signal);
    const both = AbortSignal.any([signal, this.#stopped.signal]);
    await this.#turns.run(async () => {
      this.#lease = { ...this.#lease, attributes };
      this.#value = encodeLeaseValue(attributes);
      await this.#write("changing", both);
    });
  }

  /** etcd has no place for it. */
  networkReady(): void {}

  async #keepRenewed(): Promise<void> {
    const { log } = this.#options;
    const signal = this.#stopped.signal;
    while (!signal.aborted) {
      await this.#renewal.pause(signal);
      if (signal.aborted) return;
      if (!this.#renewal.isDue) continue;
      await this.#retryUntilSuccess("renewing", RENEWAL_BACKOFF, signal, async () => {
        const etcdLease = this.#etcdLease;
        if (etcdLease === 0n) return;
        const ttlSeconds = await this.#options.etcd.keepLeaseAlive(etcdLease, signal);
        if (ttlSeconds > 0) {
          if (etcdLease === this.#etcdLease) this.#renewal.expireIn(ttlSeconds);
          log.info({ lease: this.#lease.key }, `renewed the lease for ${ttlSeconds} s`);
        } else {
          await this.#turns.run(() => this.#restore("expired"));
        }
      });
    }
  }

  async #watchKey(): Promise<void> {
    const key = this.#options.records.leaseKey(this.#lease.key);
    for await (const event of this.#options.etcd.watch(key, this.#stopped.signal)) {
      await this.#turns.run(() => this.#follow(event, key));
      if (this.#stopped.signal.aborted) return;
    }
  }

  /**
   * An event may be older than this node's last write, and after etcd was restored from a backup,
   * newer events have lower revisions. So the revision only decides whether the key must be read.
   */
  async #follow(event: EtcdWatch, key: string): Promise<void> {
    const known = this.#lease.changed;
    switch (event.kind) {
      case "snapshot": {
        const keyValue = event.keyValues.find((item) => item.key === key);
        if (keyValue?.modRevision !== known) await this.#check();
        break;
      }
      case "put":
        if (event.keyValue.key === key && event.keyValue.modRevision > known) await this.#check();
        break;
      case "delete":
        if (event.key === key && event.modRevision > known) await this.#check();
    }
  }

  /** Reads the key, and restores it if it is missing or invalid. */
  async #check(): Promise<void> {
    const { etcd, records } = this.#options;
    const signal = this.#stopped.signal;
    await this.#retryUntilSuccess("reading", WRITE_BACKOFF, signal, async () => {
      const key = records.leaseKey(this.#lease.key);
      const found = (await etcd.range({ key }, signal)).keyValues[0];
      if (found === undefined) await this.#restore("was deleted");
      else if (!this.#recognize(records.record(found))) await this.#write("restoring", signal);
    });
  }

  /**
   * Records the current state of the key. `false` if it is invalid and must be written again;
   * another node's address means that the subnet is lost.
   */
  #recognize(record: LeaseRecord): boolean {
    const { config } = this.#options;
    const { lease, createRevision: created, modRevision: changed } = record;
    this.#lease = { ...this.#lease, created, changed };
    this.#otherValue = undefined;
    if (record.etcdLease !== this.#etcdLease) {
      this.#etcdLease = record.etcdLease;
      // Another program attached it, most likely for a day; to be sure, renew it at once.
      if (record.etcdLease === 0n) this.#renewal.neverExpire();
      else this.#renewal.renewNow();
    }
    if (record.value === this.#value) return true;
    if (isInvalidLease(lease)) {
      this.#warn(`this node's lease was overwritten: ${lease.reason}; restoring it`);
      return false;
    }
    const family = nodeFamily(config);
    const holder = lease.attributes.publicAddresses[family];
    if (holder === undefined) {
      this.#warn(
        `this node's lease was overwritten: no public IPv${family} address; restoring it`,
      );
      return false;
    }
    if (holder === this.#lease.attributes.publicAddresses[family]) {
      this.#otherValue = encodeLeaseValue(lease.attributes);
      this.#warn(OTHER_PROCESS, { value: record.value });
    } else {
      this.lose(`lease ${lease.key} now belongs to the node with the public address ${holder}`);
    }
    return true;
  }

  /** The key was deleted: takes the same subnet again, unless another node has taken it since. */
  async #restore(cause: "expired" | "was deleted"): Promise<void> {
    const { log } = this.#options;
    const signal = this.#stopped.signal;
    const isLogged = this.#warn(`this node's lease ${cause}; restoring it`);
    await this.#write("restoring", signal);
    if (isLogged && !signal.aborted) {
      log.info({ lease: this.#lease.key }, "restored this node's lease");
    }
  }

  /** Returns whether it was logged. */
  #warn(text: string, fields: Record<string, unknown> = {}): boolean {
    return this.#foreignChange.occurred("warn", text, { lease: this.#lease.key, ...fields });
  }

  /** Makes the key hold this node's value, unless another node has taken it. */
  async #write(verb: string, signal: AbortSignal): Promise<void> {
    await using unused = new UnusedLease(this.#options.etcd);
    const attempt = () => unused.attempt(() => this.#tryWrite(unused, signal));
    await this.#retryUntilSuccess(verb, WRITE_BACKOFF, signal, attempt);
  }

  async #tryWrite(unused: UnusedLease, signal: AbortSignal): Promise<void> {
    const { records, etcd, config } = this.#options;
    const { key } = this.#lease;
    for (;;) {
      const range = await etcd.range({ key: records.leaseKey(key) }, signal);
      const found = range.keyValues[0];
      if (found !== undefined) {
        const record = records.record(found);
        unused.release(record.etcdLease);
        if (record.value === this.#value || !this.#isOwn(record)) {
          this.#recognize(record);
          return;
        }
        const write = { key, value: this.#value, etcdLease: record.etcdLease };
        const revision = await records.replace(write, record.modRevision, signal);
        if (revision === undefined) continue;
        this.#lease = { ...this.#lease, changed: revision };
        this.#otherValue = undefined;
        return;
      }
      const etcdLease = await unused.id(signal);
      const write = { key, value: this.#value, etcdLease };
      const creation = await records.create(write, config.families, signal);
      if (creation.kind === "exists") continue;
      if (creation.kind === "overlaps") {
        return this.lose(`lease ${creation.key} now overlaps this node's subnet`);
      }
      const { revision } = creation;
      unused.release(etcdLease);
      this.#lease = { ...this.#lease, created: revision, changed: revision };
      this.#otherValue = undefined;
      this.#etcdLease = etcdLease;
      this.#renewal.expireIn(SUBNET_TTL_SECONDS);
      return;
    }
  }

  /**
   * Whether the record is not another node's: it is invalid, was last written by this node, or has
   * this node's public address or none.
   */
  #isOwn(record: LeaseRecord): boolean {
    if (isInvalidLease(record.lease) || record.modRevision === this.#lease.changed) return true;
    const family = nodeFamily(this.#options.config);
    const holder = record.lease.attributes.publicAddresses[family];
    return holder === undefined || holder === this.#lease.attributes.publicAddresses[family];
  }

  #retryUntilSuccess(
    verb: string,
    backoff: { readonly firstMs: number; readonly maxMs: number },
    signal: AbortSignal,
    attempt: () => Promise<void>,
  ): Promise<void> {
    const { log, clock } = this.#options;
    const what = `${verb} this node's lease ${this.#lease.key}`;
    const options = { what, log, clock, signal, ...backoff, retryOf: retryOfEtcd };
    return retryUntilSuccess(options, attempt);
  }
}
