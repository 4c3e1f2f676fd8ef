/** `flanneld config set`: writes a network configuration, unless a node would lose its subnet. */

import { BACKENDS } from "../backend/backend_registry.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { LeaseRecord } from "../subnet/etcd/lease_records.ts";
import { isInvalidLease } from "../subnet/lease_codec.ts";
import { checkConfigText } from "./check_config.ts";
import { changedKeys, type CompleteConfig, configEffects } from "./config_change.ts";
import { isTakenReservation } from "./lease_list.ts";
import { RefusedError } from "./run_operator.ts";
import {
  configSource,
  type NetworkStore,
  readStoredNetwork,
  type StoredNetwork,
} from "./stored_network.ts";

export interface SetRequest {
  readonly text: string;
  /** It has no errors. */
  readonly config: NetworkConfig;
  readonly force: boolean;
  /** Prints what changes, before it does. */
  print(lines: readonly string[]): Promise<void>;
}

/**
 * Writes it if it has not changed since it was read. Throws `RefusedError`, `EtcdError`, and the
 * signal's reason.
 */
export async function setConfig(
  store: NetworkStore,
  { text, config, force, print }: SetRequest,
  signal: AbortSignal,
): Promise<void> {
  const source = configSource(store);
  const network = await readStoredNetwork(store, signal);
  const { config: found } = network;
  if (found?.value === text) return await print([`${source} already has this configuration`]);
  const after = await complete(config);
  const before = found && await parsed(found.value);
  const effects = effectsOf({ before: before?.config, after: config, network });
  await print([
    ...(found === undefined
      ? [`there is no ${source} yet`]
      : before === undefined
      ? [`${source} is currently invalid`]
      : changedKeys(before, after)),
    ...effects.losses,
    ...effects.notes,
  ]);
  if (effects.losses.length > 0 && !force) throw new RefusedError(refusal(effects.losses));
  const later = await write(store, { found, text }, signal);
  if (later === undefined) {
    throw new RefusedError(
      `another program has changed ${source} in the meantime; see flanneld config show, and try ` +
        "again",
    );
  }
  const lines = [`wrote ${source} at revision ${later.revision}`];
  const known = new Set(effects.losses);
  const leases = { leases: later.leases, sessions: network.sessions };
  const all = effectsOf({ before: before?.config, after: config, network: leases });
  const since = all.losses.filter((line) => !known.has(line));
  await print([...lines, ...since.map((line) => `in the meantime: ${line}`)]);
}

function refusal(losses: readonly string[]): string {
  const nodes = losses.length === 1
    ? "a node would lose its subnet"
    : `${losses.length} nodes would lose their subnets`;
  return `nothing is changed: ${nodes} or could not start; move the workloads first, or write it ` +
    "anyway with --force";
}

/** `undefined` if the configuration is not as it was found; with the leases at that moment. */
async function write(
  { etcd, records }: NetworkStore,
  { found, text }: { readonly found: StoredNetwork["config"]; readonly text: string },
  signal: AbortSignal,
): Promise<{ readonly revision: bigint; readonly leases: readonly LeaseRecord[] } | undefined> {
  const key = records.configKey;
  const { succeeded, revision, ranges } = await etcd.transaction({
    compare: [
      found === undefined ? { key, createRevision: 0n } : { key, modRevision: found.modRevision },
    ],
    success: [
      { put: { key, value: text } },
      { range: { key: records.leasePrefix, prefix: true } },
    ],
  }, signal);
  if (!succeeded) return undefined;
  return { revision, leases: ranges.flat().map((keyValue) => records.record(keyValue)) };
}

function effectsOf(given: {
  readonly before: NetworkConfig | undefined;
  readonly after: NetworkConfig;
  readonly network: Pick<StoredNetwork, "leases" | "sessions">;
}) {
  const { before } = given;
  const isTaken = ({ lease }: LeaseRecord) =>
    !isInvalidLease(lease) && isTakenReservation(lease, before);
  return configEffects({ ...given, isTaken });
}

async function parsed(text: string): Promise<CompleteConfig | undefined> {
  const { config } = await checkConfigText(text, "flanneld");
  return config && await complete(config);
}

async function complete(config: NetworkConfig): Promise<CompleteConfig> {
  const { options } = await BACKENDS.forNetwork(config).load();
  return { config, options };
}
