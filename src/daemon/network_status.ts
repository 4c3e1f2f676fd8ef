/** What a node that has a lease reports about itself. */

import type { Repair } from "../base/repair_history.ts";
import type { FirewallMode } from "../firewall/firewall.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import type { Backend } from "../overlay/backend.ts";
import type { PeerPathCounts } from "../overlay/peer_paths.ts";
import type { OwnLease } from "../subnet/lease_store.ts";
import type { LeaseFollower, LeaseFollowerStatus } from "./lease_follower.ts";

/** The part of the node that has a problem. */
export type ProblemArea =
  | "interface"
  | "rules"
  | "subnet file"
  | "lease"
  | "public address"
  | "peers"
  /** Another program has an entry with the same key. */
  | "conflict"
  /** The kernel refuses an entry. */
  | "entry"
  | "backend";

export interface Problem {
  readonly area: ProblemArea;
  /** As in `/readyz`. */
  readonly text: string;
}

/** What is known of the other nodes. */
export type PeerSource = Pick<LeaseFollower, "peerStates" | "rejected" | "entriesOf">;

export interface NetworkStatus {
  readonly external: ExternalInterface;
  readonly backend: Backend;
  readonly own: OwnLease;
  readonly peers: LeaseFollowerStatus & PeerPathCounts;
  readonly rules: { readonly mode: FirewallMode; readonly isInSync: boolean };
  /** The newest first. */
  readonly repairs: readonly Repair[];
  readonly problems: readonly Problem[];
}
