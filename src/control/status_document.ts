/**
 * The documents of the status socket, version 1. docs/api.md has their schema, and a test compares
 * it with what the daemon sends. Members are only added; a change of their meaning is a version 2.
 */

/** `GET /v1/status`. What is not known, or does not exist yet, is `null`. */
export interface StatusDocument {
  /** The version of flanneld. */
  readonly version: string;
  readonly pid: number;
  /** Times are those of the host's clock, as `2026-01-02T03:04:05Z`. */
  readonly startedAt: string;
  /** When this document was made. */
  readonly time: string;
  readonly subnetFile: string;
  readonly ready: boolean;
  /** What the start has reached; `null` once it is complete. */
  readonly step: string | null;
  readonly node: NodeDocument;
  readonly network: NetworkDocument | null;
  readonly backend: BackendDocument | null;
  readonly externalInterface: InterfaceDocument | null;
  readonly mtu: MtuDocument | null;
  readonly store: StoreDocument | null;
  readonly rules: RulesDocument | null;
  readonly peers: PeerCountsDocument | null;
  /** The last 20, the newest first. */
  readonly repairs: readonly RepairDocument[];
  /** Why the node is not ready: the lines of `/readyz`. */
  readonly problems: readonly ProblemDocument[];
}

export interface NodeDocument {
  readonly hostname: string;
  /** The addresses at which the other nodes reach this one; IPv4 first. */
  readonly publicAddresses: readonly string[];
}

export interface NetworkDocument {
  /** The networks of which each node has a subnet; IPv4 first. */
  readonly networks: readonly string[];
  /** The subnets of this node; empty until it has a lease. */
  readonly subnets: readonly string[];
}

export interface BackendDocument {
  readonly type: string;
  readonly devices: readonly string[];
}

export interface InterfaceDocument {
  readonly name: string;
  readonly mtuBytes: number;
  readonly addresses: readonly string[];
  /** Why it was chosen, as in the log. */
  readonly reasons: readonly string[];
}

/** `bytes` = `baseBytes` − `overheadBytes`. */
export interface MtuDocument {
  /** The MTU of workloads: FLANNEL_MTU. */
  readonly bytes: number;
  /** The MTU of the external interface, or the option MTU of the backend. */
  readonly baseBytes: number;
  readonly base: "interface" | "configuration";
  readonly overheadBytes: number;
}

export interface StoreDocument {
  /** `datastore`: `flanneld datastore`, which this node has joined. */
  readonly kind: "etcd" | "datastore" | "kubernetes";
  readonly description: string;
  /** The server that is used now; `null` if there is no connection. */
  readonly endpoint: string | null;
  readonly connectedSince: string | null;
  readonly lease: LeaseDocument | null;
}

export interface LeaseDocument {
  /** The key, such as `10.5.72.0-24`; with Kubernetes `node/NAME`. */
  readonly key: string;
  /** When it expires unless renewed, which happens well before; `null` if it never expires. */
  readonly expiresAt: string | null;
}

export interface RulesDocument {
  readonly mode: "iptables" | "nftables";
  readonly inSync: boolean;
}

/** The number of peers by path; each is counted once. */
export interface PeerCountsDocument {
  readonly tunnel: number;
  readonly direct: number;
  /** There is no route to them at present. */
  readonly unreachable: number;
  /** Their leases cannot be used; the log says why. */
  readonly ignored: number;
  /** Their leases were deleted a moment ago. */
  readonly departing: number;
}

export interface RepairDocument {
  readonly time: string;
  readonly action: "restored" | "removed";
  /** In the notation of `ip` and `bridge`. */
  readonly entry: string;
}

export interface ProblemDocument {
  /** The part of the node that has it. */
  readonly area: string;
  readonly text: string;
  /** What to do about it. */
  readonly action: string;
}
