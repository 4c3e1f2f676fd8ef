/**
 * The subnet this node holds in etcd: renewed before it expires, and put back when it is gone.
 *
 * Two tasks run until disposed: one keeps the etcd lease alive, one watches the key. They, and
 * `update`, take turns, so that each sees the key as the one before left it.
 */

import type { NetworkConfig } from "../../config/network_config.ts";
import type { Log } from "../../log/log.ts";
import { RecurringEvent } from "../../log/recurring_event.ts";
import type { Lease, LeaseAttributes } from "../lease.ts";
import { encodeLeaseValue, isInvalidLease } from "../lease_codec.ts";
import type { OwnLease } from "../lease_store.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import type { Etcd, EtcdWatch } from "../../etcd/client/etcd.ts";
import type { LeaseRecord, LeaseRecords } from "./lease_records.ts";
import { untilStoreAnswers } from "./store_retry.ts";
import { SUBNET_TTL_SECONDS, UnusedLease } from "./unused_lease.ts";

/** A lease as it was acquired. */
export interface HeldLease {
  readonly lease: Lease;
  /** Id of the etcd lease; 0n for a reservation. */
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

const OTHER_PROCESS =
  "this node's lease was changed by another process that has this node's public address";

/** A failed renewal is repeated within a minute. */
const RENEWAL_BACKOFF = { firstMs: 5_000, maxMs: 60_000 };
const WRITE_BACKOFF = { firstMs: 500, maxMs: 5_000 };

export class EtcdOwnLease implements OwnLease {
  readonly lost: Promise<string>;
  readonly #options: OwnLeaseOptions;
  readonly #stopped = new AbortController();
  #lease: Lease;
  #value: string;
  /** What another process with this node's public address has written, in this node's encoding. */
  #otherValue: string | undefined;
  #etcdLease: bigint;
  #expiresMs: number;
  /** Ends the pause before the next renewal, because the time of expiry has changed. */
  #rescheduled = new AbortController();
  /** Deletions and changes of the key by something else. */
  readonly #disturbance: RecurringEvent;
  #turn: Promise<unknown> = Promise.resolve();
  #resolveLost: (reason: string) => void = () => {};
  readonly #tasks: Promise<unknown>;

  constructor(options: OwnLeaseOptions) {
    this.#options = options;
    const { held, log, clock } = options;
    this.#disturbance = new RecurringEvent({ log, clock });
    this.#lease = held.lease;
    this.#value = encodeLeaseValue(held.lease.attributes);
    this.#etcdLease = held.etcdLease;
    this.#expiresMs = held.expiresMs;
    const failed = Promise.withResolvers<string>();
    this.#resolveLost = failed.resolve;
    this.lost = failed.promise;
    const task = (run: Promise<void>) =>
      run.catch((error) => this.#stopped.signal.aborted || failed.reject(error));
    this.#tasks = Promise.all([task(this.#keepRenewed()), task(this.#watchKey())]);
  }

  get lease(): Lease {
    return this.#lease;
  }

  get problem(): string | undefined {
    if (this.#otherValue === undefined || this.#otherValue === this.#value) return undefined;
    return `${OTHER_PROCESS}, and the other nodes use what lease ${this.#lease.key} says now; ` +
      "end that process, on this host or on a node with the same address, and restart flanneld";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#tasks;
    await this.#turn;
  }

  /** Gives the subnet up for good: renewal stops, and `lost` resolves with the reason. */
  lose(reason: string): void {
    this.#stopped.abort();
    this.#resolveLost(reason);
  }

  async update(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    await this.#options.claimAddress(attributes.publicAddresses, signal);
    const both = AbortSignal.any([signal, this.#stopped.signal]);
    await this.#inTurn(async () => {
      this.#lease = { ...this.#lease, attributes };
      this.#value = encodeLeaseValue(attributes);
      await this.#write("changing", both);
    });
  }

  /** Renews in time, again and again. */
  async #keepRenewed(): Promise<void> {
    const { clock, log } = this.#options;
    const signal = this.#stopped.signal;
    while (!signal.aborted) {
      await this.#pauseUntilRenewal();
      if (signal.aborted) return;
      if (this.#renewalMs() > clock.nowMs()) continue;
      await this.#untilAnswered("renewing", RENEWAL_BACKOFF, signal, async () => {
        const etcdLease = this.#etcdLease;
        if (etcdLease === 0n) return;
        const ttlSeconds = await this.#options.etcd.keepLeaseAlive(etcdLease, signal);
        if (ttlSeconds > 0) {
          if (etcdLease === this.#etcdLease) this.#expireIn(ttlSeconds);
          log.info({ lease: this.#lease.key }, `renewed the lease for ${ttlSeconds} s`);
        } else {
          await this.#inTurn(() => this.#putBack("it expired"));
        }
      });
    }
  }

  async #pauseUntilRenewal(): Promise<void> {
    const { clock } = this.#options;
    this.#rescheduled = new AbortController();
    const signal = AbortSignal.any([this.#stopped.signal, this.#rescheduled.signal]);
    const pauseMs = this.#renewalMs() - clock.nowMs();
    // A timer's longest delay is 2^31 - 1 ms; a reservation needs none at all.
    await sleep(clock, Math.min(Math.max(pauseMs, 0), 2 ** 31 - 1), signal);
  }

  /** The margin before expiry, or half of a life that is not much longer than the margin. */
  #renewalMs(): number {
    const marginMs = Math.min(this.#options.renewMarginMs, this.#lifeMs - 60_000);
    return this.#expiresMs - Math.max(marginMs, Math.min(this.#lifeMs / 2, 60_000));
  }

  #lifeMs = SUBNET_TTL_SECONDS * 1000;

  #expireIn(ttlSeconds: number): void {
    this.#lifeMs = ttlSeconds * 1000;
    this.#expiresMs = this.#options.clock.nowMs() + this.#lifeMs;
    this.#rescheduled.abort();
  }

  async #watchKey(): Promise<void> {
    const key = this.#options.records.leaseKey(this.#lease.key);
    for await (const event of this.#options.etcd.watch(key, this.#stopped.signal)) {
      await this.#inTurn(() => this.#follow(event, key));
      if (this.#stopped.signal.aborted) return;
    }
  }

  /**
   * What the watch shows may be older than what this node has written since; and after etcd was
   * restored from a backup, what is newer has a lower revision. So the revision only tells whether
   * anything is to be done: then the key is read.
   */
  async #follow(event: EtcdWatch, key: string): Promise<void> {
    const known = this.#lease.modRevision;
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

  /** Reads the key and does what its state asks for. */
  async #check(): Promise<void> {
    const { etcd, records } = this.#options;
    const signal = this.#stopped.signal;
    await this.#untilAnswered("reading", WRITE_BACKOFF, signal, async () => {
      const key = records.leaseKey(this.#lease.key);
      const found = (await etcd.range({ key }, signal)).keyValues[0];
      if (found === undefined) await this.#putBack("it was deleted");
      else if (!this.#recognize(records.record(found))) await this.#write("mending", signal);
    });
  }

  /**
   * Takes note of how the key is now. `false` if it has to be written again, because nobody can read
   * it; another node's address means that the subnet is lost.
   */
  #recognize(record: LeaseRecord): boolean {
    const { config } = this.#options;
    const { lease, createRevision, modRevision } = record;
    this.#lease = { ...this.#lease, createRevision, modRevision };
    this.#otherValue = undefined;
    if (record.etcdLease !== this.#etcdLease) {
      this.#etcdLease = record.etcdLease;
      // Whoever attached it gave it a day; to be sure, renew at once.
      this.#expiresMs = record.etcdLease === 0n ? Infinity : this.#options.clock.nowMs();
      this.#rescheduled.abort();
    }
    if (record.value === this.#value) return true;
    if (isInvalidLease(lease)) {
      this.#warn(`this node's lease was overwritten: ${lease.reason}`);
      return false;
    }
    const family = config.families[4] === undefined ? 6 : 4;
    const holder = lease.attributes.publicAddresses[family];
    if (holder === undefined) {
      this.#warn(`this node's lease was overwritten: it has no public IPv${family} address`);
      return false;
    }
    if (holder === this.#lease.attributes.publicAddresses[family]) {
      this.#otherValue = encodeLeaseValue(lease.attributes);
      this.#warn(OTHER_PROCESS, { value: record.value });
    } else {
      this.lose(`${lease.key} belongs to the node with the public address ${holder} now`);
    }
    return true;
  }

  /** The key is gone: the same subnet is taken again, unless another node has it by now. */
  async #putBack(why: string): Promise<void> {
    const { log } = this.#options;
    const signal = this.#stopped.signal;
    const isLogged = this.#warn(`this node's lease is gone, ${why}; taking it again`);
    await this.#write("taking", signal);
    if (isLogged && !signal.aborted) {
      log.info({ lease: this.#lease.key }, "this node's lease is back");
    }
  }

  /** Returns whether it was logged. */
  #warn(text: string, fields: Record<string, unknown> = {}): boolean {
    return this.#disturbance.occurred("warn", text, { lease: this.#lease.key, ...fields });
  }

  /** Brings the key to hold this node's value, whatever became of it. */
  async #write(verb: string, signal: AbortSignal): Promise<void> {
    await using spare = new UnusedLease(this.#options.etcd);
    const attempt = () => spare.attempt(() => this.#tryWrite(spare, signal));
    await this.#untilAnswered(verb, WRITE_BACKOFF, signal, attempt);
  }

  async #tryWrite(spare: UnusedLease, signal: AbortSignal): Promise<void> {
    const { records, etcd, config } = this.#options;
    const { key } = this.#lease;
    for (;;) {
      const range = await etcd.range({ key: records.leaseKey(key) }, signal);
      const found = range.keyValues[0];
      if (found !== undefined) {
        const record = records.record(found);
        spare.release(record.etcdLease);
        if (record.value === this.#value || !this.#isOwn(record)) {
          this.#recognize(record);
          return;
        }
        const write = { key, value: this.#value, etcdLease: record.etcdLease };
        const revision = await records.replace(write, record.modRevision, signal);
        if (revision === undefined) continue;
        this.#lease = { ...this.#lease, modRevision: revision };
        this.#otherValue = undefined;
        return;
      }
      const etcdLease = await spare.id(signal);
      const write = { key, value: this.#value, etcdLease };
      const creation = await records.create(write, config.families, signal);
      if (creation.kind === "exists") continue;
      if (creation.kind === "overlaps") {
        return this.lose(`lease ${creation.key} has some of its addresses now`);
      }
      const { revision } = creation;
      spare.release(etcdLease);
      this.#lease = { ...this.#lease, createRevision: revision, modRevision: revision };
      this.#otherValue = undefined;
      this.#etcdLease = etcdLease;
      this.#expireIn(SUBNET_TTL_SECONDS);
      return;
    }
  }

  /** No other node's: unreadable, last written by us, with our public address, or with none. */
  #isOwn(record: LeaseRecord): boolean {
    if (isInvalidLease(record.lease) || record.modRevision === this.#lease.modRevision) return true;
    const family = this.#options.config.families[4] === undefined ? 6 : 4;
    const holder = record.lease.attributes.publicAddresses[family];
    return holder === undefined || holder === this.#lease.attributes.publicAddresses[family];
  }

  #untilAnswered(
    verb: string,
    backoff: { readonly firstMs: number; readonly maxMs: number },
    signal: AbortSignal,
    attempt: () => Promise<void>,
  ): Promise<void> {
    const { log, clock } = this.#options;
    const what = `${verb} this node's lease ${this.#lease.key}`;
    return untilStoreAnswers({ what, log, clock, signal, ...backoff }, attempt);
  }

  /** One after the other, in the order of the calls. */
  #inTurn(run: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(run);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}
