/**
 * Where in etcd a network's configuration, leases and live sessions are, and the changes made
 * there.
 *
 * Each change is one transaction that succeeds only if the key did not change before. After a
 * failure it is unknown whether it was carried out; the caller reads again and continues from
 * there.
 */

import { posix } from "node:path";
import { entriesOf, mapFamilies, type PerFamily } from "../../addr/family.ts";
import type { IpAddress } from "../../addr/ip.ts";
import { type Prefix, prefixContains, prefixesOverlap } from "../../addr/prefix.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { Log } from "../../log/log.ts";
import type { InvalidLease, Lease, LeaseKey } from "../lease.ts";
import { decodeLease, decodeLeaseKey } from "../lease_codec.ts";
import type { Etcd, EtcdKeyValue, KeyComparison, Transaction } from "../../etcd/client/etcd.ts";

/** A lease with what etcd knows of it. */
export interface LeaseRecord {
  readonly lease: Lease | InvalidLease;
  /** The subnets in its key, even if its value is invalid; none if the key is invalid. */
  readonly subnets: PerFamily<Prefix>;
  readonly value: string;
  /** ID of the etcd lease; 0n for a reservation, which never expires. */
  readonly etcdLease: bigint;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
}

export type Creation =
  | { readonly kind: "created"; readonly revision: bigint }
  /** The key exists. */
  | { readonly kind: "exists" }
  /** The key was created and has to be deleted: it overlaps the older lease `key`. */
  | { readonly kind: "overlaps"; readonly key: LeaseKey; readonly revision: bigint };

export interface LeaseWrite {
  readonly key: LeaseKey;
  readonly value: string;
  readonly etcdLease: bigint;
}

export class LeaseRecords {
  readonly configKey: string;
  /** What the keys of leases begin with. */
  readonly leasePrefix: string;
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #log: Log;

  constructor(etcd: Etcd, prefix: string, log: Log) {
    this.#etcd = etcd;
    this.#prefix = prefix;
    this.#log = log;
    this.configKey = posix.join(prefix, "config");
    this.leasePrefix = posix.join(prefix, "subnets/");
  }

  /** What the keys of live sessions begin with. */
  get sessionPrefix(): string {
    return posix.join(this.#prefix, "sessions/");
  }

  sessionKey(address: IpAddress): string {
    return `${this.sessionPrefix}${address}`;
  }

  leaseKey(key: LeaseKey): string {
    return `${this.leasePrefix}${key}`;
  }

  /** Every lease, in one call. */
  async all(signal: AbortSignal): Promise<LeaseRecord[]> {
    const range = { key: this.leasePrefix, prefix: true };
    const { keyValues } = await this.#etcd.range(range, signal);
    return keyValues.map((keyValue) => this.record(keyValue));
  }

  record(keyValue: EtcdKeyValue): LeaseRecord {
    return new StoredLease(keyValue, this.relativeKey(keyValue.key));
  }

  /**
   * Creates a lease. Two leases with different keys may overlap, so the transaction also reads the
   * others, and the older one wins.
   */
  async create(
    write: LeaseWrite,
    families: NetworkConfig["families"],
    signal: AbortSignal,
  ): Promise<Creation> {
    const key = this.leaseKey(write.key);
    const result = await this.#etcd.transaction({
      compare: [{ key, createRevision: 0n }],
      success: [
        put(key, write),
        { range: { key: this.leasePrefix, prefix: true, keysOnly: true } },
      ],
    }, signal);
    if (!result.succeeded) return { kind: "exists" };
    this.#trace("put", write.key, result.revision);
    const subnets = decodeLeaseKey(write.key) ?? {};
    for (const { key, createRevision } of result.ranges.flat()) {
      if (createRevision >= result.revision) continue;
      const other = this.relativeKey(key);
      const claimed = claimedSubnets({ subnets: decodeLeaseKey(other) ?? {} }, families);
      if (leasesOverlap(claimed, subnets)) {
        return { kind: "overlaps", key: other, revision: result.revision };
      }
    }
    return { kind: "created", revision: result.revision };
  }

  /**
   * Writes a lease that was last changed at `modRevision`, if `guards` hold; `undefined` if it has
   * changed since, or a guard does not hold.
   */
  async replace(
    write: LeaseWrite,
    modRevision: bigint,
    signal: AbortSignal,
    guards: readonly KeyComparison[] = [],
  ): Promise<bigint | undefined> {
    const key = this.leaseKey(write.key);
    const compare = [{ key, modRevision }, ...guards];
    const revision = await this.#change({ compare, success: [put(key, write)] }, signal);
    if (revision !== undefined) this.#trace("put", write.key, revision);
    return revision;
  }

  /**
   * Deletes a lease that was last changed at `modRevision`, if `guards` hold; `undefined` if it has
   * changed since, or a guard does not hold.
   */
  async delete(
    key: LeaseKey,
    modRevision: bigint,
    signal: AbortSignal,
    guards: readonly KeyComparison[] = [],
  ): Promise<bigint | undefined> {
    const fullKey = this.leaseKey(key);
    const compare = [{ key: fullKey, modRevision }, ...guards];
    const transaction = { compare, success: [{ delete: { key: fullKey } }] };
    const revision = await this.#change(transaction, signal);
    if (revision !== undefined) this.#trace("delete", key, revision);
    return revision;
  }

  /** The lease's part of a key in etcd. */
  relativeKey(key: string): LeaseKey {
    return key.slice(this.leasePrefix.length) as LeaseKey;
  }

  #trace(event: "put" | "delete", lease: LeaseKey, revision: bigint): void {
    if (!this.#log.isLevelEnabled("trace")) return;
    this.#log.trace({ event, lease, revision: Number(revision) }, "lease written to etcd");
  }

  async #change(transaction: Transaction, signal: AbortSignal): Promise<bigint | undefined> {
    const { succeeded, revision } = await this.#etcd.transaction(transaction, signal);
    return succeeded ? revision : undefined;
  }
}

/** Decoded on demand: most records are another node's, which their text already shows. */
class StoredLease implements LeaseRecord {
  readonly #keyValue: EtcdKeyValue;
  readonly #key: LeaseKey;
  #lease: Lease | InvalidLease | undefined;
  #subnets: PerFamily<Prefix> | undefined;

  constructor(keyValue: EtcdKeyValue, key: LeaseKey) {
    this.#keyValue = keyValue;
    this.#key = key;
  }

  get value(): string {
    return this.#keyValue.value;
  }

  get etcdLease(): bigint {
    return this.#keyValue.lease;
  }

  get createRevision(): bigint {
    return this.#keyValue.createRevision;
  }

  get modRevision(): bigint {
    return this.#keyValue.modRevision;
  }

  get lease(): Lease | InvalidLease {
    const { value, createRevision: created, modRevision: changed } = this.#keyValue;
    return this.#lease ??= decodeLease({ key: this.#key, value, created, changed });
  }

  get subnets(): PerFamily<Prefix> {
    return this.#subnets ??= decodeLeaseKey(this.#key) ?? {};
  }
}

/**
 * The subnets of a record that no other node can have. One that covers a whole network is ignored:
 * it would leave no subnet for the other nodes.
 */
export function claimedSubnets(
  record: Pick<LeaseRecord, "subnets">,
  families: NetworkConfig["families"],
): PerFamily<Prefix> {
  return mapFamilies(record.subnets, (subnet, family) => {
    const network = families[family]?.network;
    return network !== undefined && !prefixContains(subnet, network) ? subnet : undefined;
  });
}

/** Whether two nodes' subnets have an address in common. */
export function leasesOverlap(a: PerFamily<Prefix>, b: PerFamily<Prefix>): boolean {
  return entriesOf(a).some(([family, subnet]) => {
    const other = b[family];
    return other !== undefined && prefixesOverlap(subnet, other);
  });
}

function put(
  key: string,
  { value, etcdLease }: LeaseWrite,
): { put: { key: string; value: string; lease?: bigint } } {
  return { put: { key, value, ...(etcdLease !== 0n && { lease: etcdLease }) } };
}
