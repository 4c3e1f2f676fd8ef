/** The part of etcd's v3 API that the lease store uses; `EtcdClient` implements it. */

export interface Etcd extends AsyncDisposable {
  /** The endpoints, for messages; without credentials. */
  readonly description: string;
  /** The member that is used now; `undefined` if it is not connected. */
  readonly connection?: EtcdConnectionState | undefined;
  /** One key, or all keys with this prefix, as of one revision. */
  range(request: KeyRange, signal: AbortSignal): Promise<RangeResult>;
  /** If all comparisons hold, performs `success`, else `failure`, at one revision. */
  transaction(request: Transaction, signal: AbortSignal): Promise<TransactionResult>;
  /** `id` 0n lets the server choose. */
  grantLease(
    request: { id?: bigint; ttlSeconds: number },
    signal: AbortSignal,
  ): Promise<LeaseGrant>;
  /** Renews once; returns the new time to live in seconds, 0 if the lease does not exist. */
  keepLeaseAlive(id: bigint, signal: AbortSignal): Promise<number>;
  revokeLease(id: bigint, signal: AbortSignal): Promise<void>;
  /**
   * Remaining and granted time in seconds; `remainingSeconds` is -1 if the lease does not exist.
   */
  leaseTimeToLive(id: bigint, signal: AbortSignal): Promise<{
    remainingSeconds: number;
    grantedSeconds: number;
  }>;
  /**
   * The keys with this prefix: a snapshot, then each change once and in order, until aborted. It
   * reconnects by itself, resumes at the last received revision + 1, and yields a new snapshot if
   * that revision was compacted.
   */
  watch(prefix: string, signal: AbortSignal): AsyncIterable<EtcdWatch>;
}

export interface EtcdConnectionState {
  /** Its URL, without credentials. */
  readonly endpoint: string;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
}

export interface EtcdKeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly version: bigint;
  /** ID of the attached lease; 0n for none. */
  readonly lease: bigint;
}

export interface KeyRange {
  readonly key: string;
  /** `key` is a prefix. */
  readonly prefix?: boolean;
  /** Without the values, which are then empty. */
  readonly keysOnly?: boolean;
}

export interface RangeResult {
  readonly keyValues: readonly EtcdKeyValue[];
  /** The store's revision at the time of reading. */
  readonly revision: bigint;
}

export interface Transaction {
  readonly compare: readonly KeyComparison[];
  readonly success: readonly EtcdOperation[];
  readonly failure?: readonly EtcdOperation[];
}

export type KeyComparison =
  /** 0n: the key does not exist. */
  | { readonly key: string; readonly createRevision: bigint }
  | { readonly key: string; readonly modRevision: bigint };

export type EtcdOperation =
  | { readonly put: { readonly key: string; readonly value: string; readonly lease?: bigint } }
  | { readonly delete: { readonly key: string } }
  | { readonly range: KeyRange };

export interface TransactionResult {
  readonly succeeded: boolean;
  readonly revision: bigint;
  /** One per operation; filled for `range`. */
  readonly ranges: readonly (readonly EtcdKeyValue[])[];
}

export interface LeaseGrant {
  readonly id: bigint;
  readonly ttlSeconds: number;
}

export type EtcdWatch =
  | {
    readonly kind: "snapshot";
    readonly keyValues: readonly EtcdKeyValue[];
    readonly revision: bigint;
  }
  | { readonly kind: "put"; readonly keyValue: EtcdKeyValue }
  | { readonly kind: "delete"; readonly key: string; readonly modRevision: bigint };
