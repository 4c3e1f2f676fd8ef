/** The leases of all nodes as an operator sees them, from any store. */

import type { PerFamily } from "../addr/family.ts";
import { addressValue, type IpAddress } from "../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { systemClock } from "../base/clock.ts";
import { quoted } from "../base/quoting.ts";
import { ConfigError } from "../config/config_error.ts";
import {
  type NetworkConfig,
  parseNetworkConfig,
  type SubnetAllocation,
} from "../config/network_config.ts";
import { NO_WARNINGS } from "../config/option_schema.ts";
import type { InvalidLease, Lease, LeaseKey } from "../subnet/lease.ts";
import { isInvalidLease } from "../subnet/lease_codec.ts";
import { LeaseTable } from "../subnet/lease_table.ts";
import { whyInvalid } from "../subnet/lease_validation.ts";

/**
 * `lease`: it expires unless its node renews it. `reservation`: it never expires. `node`: a Node of
 * Kubernetes.
 */
export type ListedKind = "lease" | "reservation" | "node";

export interface ListedLease {
  readonly key: LeaseKey;
  readonly subnets: PerFamily<Prefix>;
  readonly publicAddresses: PerFamily<IpAddress>;
  /** As the lease has it; `undefined` if the lease cannot be read. */
  readonly backend: string | undefined;
  readonly kind: ListedKind;
  /** Until it expires; `undefined` if it does not. */
  readonly remainingSeconds: number | undefined;
  /** The host that is alive; in Kubernetes the node, alive or not. */
  readonly host: string | undefined;
  /** Whether the session of its node exists; `undefined` where the store does not have sessions. */
  readonly alive: boolean | undefined;
  /** Why the daemons ignore it, to follow "ignored: "; `undefined` if they use it. */
  readonly ignored: string | undefined;
}

export interface LeaseList {
  /** Such as `etcd at http://127.0.0.1:2379`. */
  readonly store: string;
  readonly leases: readonly ListedLease[];
  /** What could not be read, one line each. */
  readonly notes: readonly string[];
}

export interface ReadConfig {
  readonly config: NetworkConfig | undefined;
  /** Why the leases cannot be compared with a configuration. */
  readonly problem: string | undefined;
}

/** The configuration, as far as it is needed to validate leases. */
export function readConfig(
  text: string | undefined,
  { source, allocation }: { readonly source: string; readonly allocation: SubnetAllocation },
): ReadConfig {
  if (text === undefined) return { config: undefined, problem: `there is no ${source}` };
  try {
    const config = parseNetworkConfig(text, { source, allocation, ...NO_WARNINGS });
    BACKENDS.forNetwork(config);
    return { config, problem: undefined };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: undefined, problem: error.message };
  }
}

/** `BackendType` in the leases of a network. */
export function leaseBackendType(config: NetworkConfig): string {
  return BACKENDS.find(config.backend.type)?.isUnnamedInLeases ? "" : config.backend.type;
}

/**
 * Whether a node has taken this reservation, as far as it shows: it names the backend then, if the
 * backend's leases do. True if there is no valid configuration.
 */
export function isTakenReservation(
  { attributes: { backendType } }: Lease,
  config: NetworkConfig | undefined,
): boolean {
  return backendType !== "" || config === undefined || leaseBackendType(config) === "";
}

/**
 * Why the daemons ignore leases, by key. It is what each daemon decides, without what only one of
 * them knows: its own subnet, and the addresses that its host uses.
 *
 * The daemons' reason for another backend says "this node", so a lease with another backend gets
 * a reason of its own.
 */
export function ignoredLeases(
  given: readonly (Lease | InvalidLease)[],
  config: NetworkConfig,
  allocation: SubnetAllocation,
): ReadonlyMap<LeaseKey, string> {
  const backendType = leaseBackendType(config);
  const rules = { config, own: { key: "" as LeaseKey, subnets: {} }, backendType, allocation };
  const table = new LeaseTable({ ...rules, onRejected: () => {}, seed: systemClock.random() });
  const invalid = given.filter(isInvalidLease);
  const leases = given.filter((lease): lease is Lease => !isInvalidLease(lease));
  table.apply({ kind: "snapshot", leases, invalid, revision: 0n });
  const reasons = new Map(table.rejected);
  for (const lease of leases) {
    const { backendType: type } = lease.attributes;
    if (type === backendType || !reasons.has(lease.key)) continue;
    reasons.set(
      lease.key,
      type === ""
        ? whyInvalid(withBackend(lease, backendType), rules) ?? NOT_TAKEN
        : `its backend is ${quoted(type)}, the network's is "${config.backend.type}"`,
    );
  }
  return reasons;
}

/** A reservation names a backend when its node has taken it. */
const NOT_TAKEN = "no node has taken it yet";

function withBackend(lease: Lease, backendType: string): Lease {
  const { key, subnets, attributes, created, changed } = lease;
  return { key, subnets, attributes: { ...attributes, backendType }, created, changed };
}

/** By subnet; what has none comes last. */
export function sortedLeases(leases: readonly ListedLease[]): ListedLease[] {
  return leases.toSorted((a, b) =>
    compareSubnets(a.subnets[4], b.subnets[4]) || compareSubnets(a.subnets[6], b.subnets[6]) ||
    (a.key < b.key ? -1 : 1)
  );
}

function compareSubnets(a: Prefix | undefined, b: Prefix | undefined): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  const [x, y] = [addressValue(prefixAddress(a)), addressValue(prefixAddress(b))];
  return x === y ? prefixLength(a) - prefixLength(b) : x < y ? -1 : 1;
}
