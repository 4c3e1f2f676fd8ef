/** Leases and configuration in etcd, laid out as Go flannel lays them out. */

import type { PerFamily } from "../../addr/family.ts";
import type { GivenAddress } from "../../addr/given_address.ts";
import type { IpAddress } from "../../addr/ip.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { Log } from "../../log/log.ts";
import type { Lease, LeaseWatch } from "../lease.ts";
import { isInvalidLease } from "../lease_codec.ts";
import type {
  LeaseQuery,
  LeaseRequest,
  LeaseStore,
  OwnLease,
  StoreConnection,
} from "../lease_store.ts";
import { retryUntilSuccess } from "../store_retry.ts";
import type { Clock } from "../../base/clock.ts";
import type { Etcd } from "../../etcd/client/etcd.ts";
import { EtcdOwnLease, type HeldLease } from "./etcd_own_lease.ts";
import { keyStateAfter } from "./key_events.ts";
import { leaseEvents } from "./lease_events.ts";
import { type LeaseRecord, LeaseRecords } from "./lease_records.ts";
import { SESSION_TTL_SECONDS } from "./live_session.ts";
import type { LiveNode } from "./node_identity.ts";
import { NodeSession } from "./node_session.ts";
import { ownRecords } from "./own_records.ts";
import { retryOfEtcd, throwingStoreError } from "./etcd_failure.ts";
import { SubnetAcquisition } from "./subnet_acquisition.ts";

export interface EtcdLeaseStoreOptions {
  /** The store owns it and closes it. */
  readonly etcd: Etcd;
  /** Such as `/coreos.com/network`. */
  readonly prefix: string;
  /** How long before its expiry a lease is renewed. */
  readonly renewMarginMs: number;
  /** Describes this node to the others; called when a public address is claimed. */
  readonly node: (address: IpAddress) => LiveNode | Promise<LiveNode>;
  readonly log: Log;
  readonly clock: Clock;
  /** Lifetime of the live session; default 30. */
  readonly sessionTtlSeconds?: number;
}

/** How long the leases that `previousLease` read may be used by the `acquire` that follows. */
const LIST_FRESH_MS = 5_000;

export class EtcdLeaseStore implements LeaseStore {
  readonly description: string;
  readonly allocation = "flanneld";
  readonly #options: Required<EtcdLeaseStoreOptions>;
  readonly #records: LeaseRecords;
  readonly #session: NodeSession;
  /**
   * The text that `networkConfig` returned last; `watchNetworkConfig` yields what differs from
   * it.
   */
  #lastConfig: string | undefined;
  #lastList: { readonly records: readonly LeaseRecord[]; readonly readMs: number } | undefined;

  constructor(options: EtcdLeaseStoreOptions) {
    this.#options = { sessionTtlSeconds: SESSION_TTL_SECONDS, ...options };
    const { etcd, prefix, log, sessionTtlSeconds: ttlSeconds } = this.#options;
    this.#records = new LeaseRecords(etcd, prefix, log);
    this.#session = new NodeSession({ ...this.#options, records: this.#records, ttlSeconds });
    this.description = `etcd at ${etcd.description}`;
  }

  get connection(): StoreConnection | undefined {
    return this.#options.etcd.connection;
  }

  /**
   * Ends the live session, so that another node can take over this address at once, and closes
   * etcd.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
    await this.#options.etcd[Symbol.asyncDispose]();
  }

  async networkConfig(signal: AbortSignal): Promise<string | undefined> {
    const key = this.#records.configKey;
    const { keyValues } = await throwingStoreError(() => this.#options.etcd.range({ key }, signal));
    return this.#lastConfig = keyValues[0]?.value;
  }

  async *watchNetworkConfig(signal: AbortSignal): AsyncGenerator<string | undefined> {
    const key = this.#records.configKey;
    for await (const event of this.#options.etcd.watch(key, signal)) {
      const after = keyStateAfter(event, key);
      if (after === undefined || after.keyValue?.value === this.#lastConfig) continue;
      yield this.#lastConfig = after.keyValue?.value;
    }
  }

  /** etcd prescribes none. */
  prescribedAddresses(): Promise<PerFamily<GivenAddress>> {
    return Promise.resolve({});
  }

  /** Throws `DuplicateNodeError` as `acquire` does: that lease is another live node's. */
  async previousLease(lookup: LeaseQuery, signal: AbortSignal): Promise<Lease | undefined> {
    return await this.#retryUntilSuccess(
      "looking for this node's lease in etcd",
      signal,
      async () => {
        await this.#session.claim(lookup, signal);
        const readMs = this.#options.clock.nowMs();
        const records = await this.#records.all(signal);
        this.#lastList = { records, readMs };
        const lease = ownRecords(records, lookup)[0]?.lease;
        return lease === undefined || isInvalidLease(lease) ? undefined : lease;
      },
    );
  }

  /** Throws `OutOfSubnetsError` and `DuplicateNodeError`. */
  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<OwnLease> {
    const { attributes: { publicAddresses }, config } = request;
    await using acquisition = new SubnetAcquisition({
      ...this.#options,
      records: this.#records,
      session: this.#session,
      request,
      takeRecords: () => this.#takeLastList(),
    });
    const held = await this.#retryUntilSuccess("acquiring a subnet in etcd", signal, async () => {
      await this.#session.claim({ config, publicAddresses }, signal);
      return await acquisition.run(signal);
    });
    return this.#hold(held, config);
  }

  watchLeases(signal: AbortSignal): AsyncIterable<LeaseWatch> {
    const events = this.#options.etcd.watch(this.#records.leasePrefix, signal);
    return leaseEvents(events, this.#records);
  }

  async *watchAlive(address: IpAddress, signal: AbortSignal): AsyncGenerator<boolean> {
    const what = `reading ${this.#records.sessionKey(address)} in etcd`;
    // Without permission, the watch would retry endlessly.
    const isReadable = await this.#retryUntilSuccess(
      what,
      signal,
      () => this.#session.isReadable(address, signal),
    );
    if (isReadable) yield* this.#session.watchAlive(address, signal);
  }

  /** The leases that `previousLease` has just read; only the first call returns them. */
  #takeLastList(): readonly LeaseRecord[] | undefined {
    const list = this.#lastList;
    this.#lastList = undefined;
    const oldestMs = this.#options.clock.nowMs() - LIST_FRESH_MS;
    return list !== undefined && list.readMs >= oldestMs ? list.records : undefined;
  }

  #hold(held: HeldLease, config: NetworkConfig): OwnLease {
    const own = new EtcdOwnLease({
      ...this.#options,
      records: this.#records,
      config,
      held,
      claimAddress: async (publicAddresses, signal) => {
        await throwingStoreError(() => this.#session.claim({ config, publicAddresses }, signal));
        this.#session.onTakenOver((reason) => own.lose(reason));
      },
    });
    this.#session.onTakenOver((reason) => own.lose(reason));
    return own;
  }

  #retryUntilSuccess<T>(what: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    const { log, clock } = this.#options;
    const limits = { firstMs: 500, maxMs: 5000, retryOf: retryOfEtcd };
    return retryUntilSuccess({ what, log, clock, signal, ...limits }, attempt);
  }
}
