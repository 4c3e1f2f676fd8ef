/** The network configuration: JSON at `<prefix>/config`, or net-conf.json with Kubernetes. */

import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";

export interface NetworkConfig {
  /** The enabled families; at least one. */
  readonly families: PerFamily<FamilyNetwork>;
  readonly enableNftables: boolean;
  readonly backend: BackendConfig;
}

export interface FamilyNetwork {
  readonly network: Prefix;
  /** Prefix length of each node's subnet. */
  readonly subnetLength: number;
  /** First address of the first and of the last subnet that may be given out. */
  readonly subnetMin: IpAddress;
  readonly subnetMax: IpAddress;
}

export interface BackendConfig {
  /** In lower case. */
  readonly type: string;
  /** The Backend object's other keys as they stand, for the backend's own schema. */
  readonly options: Readonly<Record<string, unknown>>;
}
