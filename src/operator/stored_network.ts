/** What etcd or a datastore holds of a network, as of one revision. */

import type { Clock } from "../base/clock.ts";
import { type IpAddress, parseIpAddress } from "../addr/ip.ts";
import { errorMessage } from "../base/operator_error.ts";
import { etcdOfFlags, namesEtcd } from "../cli/daemon_options.ts";
import type { StoreOptions } from "../cli/store_flags.ts";
import type { Etcd, EtcdKeyValue } from "../etcd/client/etcd.ts";
import { EtcdClient } from "../etcd/client/etcd_client.ts";
import { isPermissionDenied, isUnreachable } from "../etcd/client/etcd_error.ts";
import { joinedDatastore, readCredential } from "../join/node_credential.ts";
import type { Log } from "../log/log.ts";
import { type LeaseRecord, LeaseRecords } from "../subnet/etcd/lease_records.ts";
import { liveHolder } from "../subnet/etcd/live_session.ts";
import { StoreError } from "../subnet/lease_store.ts";
import { type ReadConfig, readConfig } from "./lease_list.ts";

/** The store, and where in it the network is. */
export interface NetworkStore extends AsyncDisposable {
  readonly etcd: Etcd;
  readonly records: LeaseRecords;
  /** Such as `etcd at http://127.0.0.1:2379`. */
  readonly description: string;
  /** Why it may be the wrong store if it cannot be reached; absent if the flags name it. */
  readonly doubt?: string;
}

/**
 * The store of the daemon with these flags: a node that has joined a datastore uses that, unless a
 * flag names another etcd. Connects at the first call. Throws `OperatorError`.
 */
export function openNetworkStore(
  options: StoreOptions,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): NetworkStore {
  const credential = namesEtcd(options) ? undefined : readCredential(options.joinState);
  const access = credential === undefined ? etcdOfFlags(options) : joinedDatastore(credential);
  const etcd = new EtcdClient({ ...access, clock, log, timing: TIMING });
  return {
    etcd,
    records: new LeaseRecords(etcd, options.etcdPrefix, log),
    description: `etcd at ${etcd.description}`,
    ...(!namesEtcd(options) && credential === undefined && {
      doubt: `this host has not joined a datastore: there is no ${options.joinState}`,
    }),
    [Symbol.asyncDispose]: () => etcd[Symbol.asyncDispose](),
  };
}

/** Where the network configuration is, for messages. */
export function configSource({ records, description }: NetworkStore): string {
  return `${records.configKey} in ${description}`;
}

/** The configuration of the network that was read. */
export function storedConfig({ config }: StoredNetwork, store: NetworkStore): ReadConfig {
  return readConfig(config?.value, { source: configSource(store), allocation: "flanneld" });
}

/** A command gives up sooner than a daemon. */
const TIMING = { attemptMs: 3_000, retryForMs: 2_000 };

/** The key of a live session. */
export interface StoredSession {
  readonly modRevision: bigint;
  /** The node that is alive; `undefined` if the key does not say so. */
  readonly hostname: string | undefined;
}

export interface StoredNetwork {
  readonly revision: bigint;
  readonly config: EtcdKeyValue | undefined;
  readonly leases: readonly LeaseRecord[];
  /** By public address; `undefined` if the user of etcd may not read them. */
  readonly sessions: ReadonlyMap<IpAddress, StoredSession> | undefined;
}

/** Throws `EtcdError`, `StoreError`, or the signal's reason. */
export async function readStoredNetwork(
  store: NetworkStore,
  signal: AbortSignal,
): Promise<StoredNetwork> {
  try {
    return await read(store, ["sessions"], signal);
  } catch (error) {
    if (isUnreachable(error) && store.doubt !== undefined) {
      throw new StoreError(`${errorMessage(error)}; ${store.doubt}`, { cause: error });
    }
    // A role may be limited to what Go flannel needs.
    if (!isPermissionDenied(error)) throw error;
    return await read(store, [], signal);
  }
}

async function read(
  { etcd, records }: NetworkStore,
  optional: readonly "sessions"[],
  signal: AbortSignal,
): Promise<StoredNetwork> {
  const { revision, ranges } = await etcd.transaction({
    compare: [],
    success: [
      { range: { key: records.configKey } },
      { range: { key: records.leasePrefix, prefix: true } },
      ...optional.map(() => ({ range: { key: records.sessionPrefix, prefix: true } })),
    ],
  }, signal);
  const [config, leases = [], sessions] = ranges;
  return {
    revision,
    config: config?.[0],
    leases: leases.map((keyValue) => records.record(keyValue)),
    sessions: sessions && new Map(sessions.flatMap((one) => sessionOf(one, records))),
  };
}

function sessionOf(keyValue: EtcdKeyValue, records: LeaseRecords): [IpAddress, StoredSession][] {
  const address = parseIpAddress(keyValue.key.slice(records.sessionPrefix.length));
  if (address === undefined) return [];
  const { modRevision } = keyValue;
  return [[address, { modRevision, hostname: liveHolder(keyValue)?.hostname }]];
}
