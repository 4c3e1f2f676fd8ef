/**
 * Leases, as etcd's lessor: grant, keep-alive, revocation and expiry with the attached keys.
 *
 * Each grant and keep-alive is on disk before it is acknowledged. Keep-alives that arrive at the
 * same time share one fsync(2), because every node sends them regularly. `LeaseClock` measures
 * the time to live.
 */

import type { Log } from "../../log/log.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { LeaseClock } from "./lease_clock.ts";
import { RequestError } from "./request_error.ts";
import type { Storage, StoredLease } from "./storage.ts";
import type { MvccStore } from "./mvcc_store.ts";

export interface LessorOptions {
  readonly store: MvccStore;
  readonly storage: Storage;
  readonly leaseClock: LeaseClock;
  readonly clock: Clock;
  readonly log: Log;
}

export interface LeaseTimeToLive {
  readonly remainingSeconds: bigint;
  readonly grantedSeconds: bigint;
}

interface KeepAlive {
  readonly id: bigint;
  readonly done: (ttlSeconds: bigint) => void;
  readonly failed: (error: unknown) => void;
}

/** etcd raises shorter TTLs to this, with its default election timeout. */
const MIN_TTL_SECONDS = 2n;
/** etcd's `lease.MaxLeaseTTL`. */
const MAX_TTL_SECONDS = 9_000_000_000n;
/** Least remaining time of a lease after a start: clients need a moment to reconnect. */
const START_GRACE_MS = 10_000;
/** Delay before a failed revocation is retried. */
const RETRY_MS = 10_000;
/** Expired leases that are revoked together, with one fsync(2). */
const EXPIRED_AT_A_TIME = 100;
/** Timers are limited to 24 days. */
const LONGEST_WAIT_MS = 3_600_000;

export class Lessor implements Disposable {
  readonly #options: LessorOptions;
  readonly #leases = new Map<bigint, { ttlSeconds: bigint; deadlineMs: number }>();
  #keepAlives: KeepAlive[] = [];
  #timer: Disposable | undefined;
  #wakeMs = Infinity;

  /** Loads the leases from the storage, and revokes each when it expires. */
  constructor(options: LessorOptions) {
    this.#options = options;
    const nowMs = options.leaseClock.nowMs();
    for (const { id, ttlSeconds, deadlineMs } of options.storage.leases()) {
      const graceMs = Math.min(START_GRACE_MS, Number(ttlSeconds) * 1000);
      this.#set(id, ttlSeconds, Math.max(Number(deadlineMs), nowMs + graceMs));
    }
  }

  /** Writes the pending keep-alives. */
  [Symbol.dispose](): void {
    this.#writeKeepAlives();
    this.#timer?.[Symbol.dispose]();
    this.#wakeMs = -Infinity; // no timer is earlier
  }

  has(id: bigint): boolean {
    return this.#leases.has(id);
  }

  get ids(): bigint[] {
    return [...this.#leases.keys()];
  }

  /** With `id` 0n, chooses an ID. Throws `RequestError` "leaseExists" or "leaseTtlTooLarge". */
  grant(request: { id: bigint; ttlSeconds: bigint }): { id: bigint; ttlSeconds: bigint } {
    if (request.ttlSeconds > MAX_TTL_SECONDS) throw new RequestError("leaseTtlTooLarge");
    if (this.#leases.has(request.id)) throw new RequestError("leaseExists");
    const id = request.id === 0n ? this.#freeId() : request.id;
    const ttlSeconds = request.ttlSeconds < MIN_TTL_SECONDS ? MIN_TTL_SECONDS : request.ttlSeconds;
    this.#persist([{ id, ttlSeconds }]);
    return { id, ttlSeconds };
  }

  /**
   * Renews a lease, together with others that are requested at the same time. Resolves to its time
   * to live in seconds, to 0n if there is no such lease. Rejects with the error of the disk.
   */
  keepAlive(id: bigint): Promise<bigint> {
    if (this.#keepAlives.length === 0) setImmediate(() => this.#writeKeepAlives());
    return new Promise((done, failed) => this.#keepAlives.push({ id, done, failed }));
  }

  /**
   * Removes the lease and its attached keys, in one revision. Throws `RequestError`
   * "leaseNotFound".
   */
  revoke(id: bigint): void {
    if (!this.#leases.has(id)) throw new RequestError("leaseNotFound");
    this.#options.store.write((transaction) => transaction.revoke(id));
    this.#leases.delete(id);
  }

  /** `undefined` if there is no such lease, or it has expired. */
  timeToLive(id: bigint): LeaseTimeToLive | undefined {
    const lease = this.#leases.get(id);
    if (lease === undefined) return undefined;
    const remainingMs = lease.deadlineMs - this.#options.leaseClock.nowMs();
    if (remainingMs <= 0) return undefined;
    const remainingSeconds = BigInt(Math.floor(remainingMs / 1000));
    return { remainingSeconds, grantedSeconds: lease.ttlSeconds };
  }

  /** Keys attached to the lease, in order. */
  attachedKeys(id: bigint): Uint8Array[] {
    return this.#options.storage.leaseKeys(id);
  }

  #writeKeepAlives(): void {
    const renewals = this.#keepAlives;
    this.#keepAlives = [];
    const ttlOf = (id: bigint) => this.#leases.get(id)?.ttlSeconds;
    const leases = new Map(renewals.map(({ id }) => [id, ttlOf(id)]));
    try {
      this.#persist(
        [...leases].flatMap(([id, ttlSeconds]) => ttlSeconds ? [{ id, ttlSeconds }] : []),
      );
      for (const { id, done } of renewals) done(leases.get(id) ?? 0n);
    } catch (error) {
      for (const { failed } of renewals) failed(error);
    }
  }

  /** Writes the leases with their full time to live, from now on. */
  #persist(leases: readonly Pick<StoredLease, "id" | "ttlSeconds">[]): void {
    if (leases.length === 0) return;
    const nowMs = this.#options.leaseClock.nowMs();
    const deadlineOf = (ttlSeconds: bigint) => nowMs + Number(ttlSeconds) * 1000;
    this.#options.store.writeLeases((storage) => {
      for (const { id, ttlSeconds } of leases) {
        const deadlineMs = BigInt(Math.ceil(deadlineOf(ttlSeconds)));
        storage.writeLease({ id, ttlSeconds, deadlineMs });
      }
    });
    for (const { id, ttlSeconds } of leases) this.#set(id, ttlSeconds, deadlineOf(ttlSeconds));
  }

  #set(id: bigint, ttlSeconds: bigint, deadlineMs: number): void {
    this.#leases.set(id, { ttlSeconds, deadlineMs });
    this.#wakeAt(deadlineMs);
  }

  #wakeAt(timeMs: number): void {
    if (timeMs >= this.#wakeMs) return;
    this.#timer?.[Symbol.dispose]();
    this.#wakeMs = timeMs;
    const waitMs = Math.max(0, timeMs - this.#options.leaseClock.nowMs());
    this.#timer = this.#options.clock.setTimer(
      Math.min(Math.ceil(waitMs), LONGEST_WAIT_MS),
      () => this.#expire(),
    );
  }

  /**
   * Revokes expired leases, some at a time. When thousands expire together, for example after a
   * partition, other calls are served in between, and keep-alives may still renew the rest.
   */
  #expire(): void {
    this.#wakeMs = Infinity;
    const { leaseClock, log } = this.#options;
    const nowMs = leaseClock.nowMs();
    const due: bigint[] = [];
    let nextMs = Infinity;
    for (const [id, { deadlineMs }] of this.#leases) {
      if (deadlineMs <= nowMs && due.length < EXPIRED_AT_A_TIME) due.push(id);
      else nextMs = Math.min(nextMs, deadlineMs);
    }
    const failures = this.#revokeExpired(due);
    if (failures.length > 0) {
      // One line for all: on a full disk all fail for the same reason.
      const others = failures.length > 1 ? ` (and ${failures.length - 1} more)` : "";
      log.warn(`cannot revoke expired lease ${failures[0]}${others}; retrying`);
      nextMs = nowMs + RETRY_MS;
    }
    this.#wakeAt(nextMs);
  }

  /** With one fsync for all, if that succeeds. Returns a text for each that failed. */
  #revokeExpired(ids: readonly bigint[]): string[] {
    const { store, log } = this.#options;
    try {
      store.writeEach(ids.map((id) => (transaction) => transaction.revoke(id)));
    } catch (error) {
      // The disk may have room for one revocation, but not for all.
      if (ids.length > 1) return ids.flatMap((id) => this.#revokeExpired([id]));
      return ids.map((id) => `${leaseText(id)}: ${errorMessage(error)}`);
    }
    for (const id of ids) {
      this.#leases.delete(id);
      log.debug({ lease: leaseText(id) }, "lease expired");
    }
    return [];
  }

  #freeId(): bigint {
    for (;;) {
      const [bits = 0n] = crypto.getRandomValues(new BigUint64Array(1));
      const id = bits >> 1n;
      if (id !== 0n && !this.#leases.has(id)) return id;
    }
  }
}

/** The ID of a lease, as etcdctl prints it. */
export function leaseText(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16);
}
