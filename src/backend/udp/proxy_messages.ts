/** What the daemon and the proxy's thread tell each other. */

import type { Subnet } from "./next_hops.ts";
import type { Unsent } from "./unsent.ts";

/** Addresses are unsigned 32-bit numbers in host byte order. */
export interface ProxySettings {
  readonly deviceName: string;
  readonly port: number;
  readonly network: Subnet;
  /** Where the socket is bound. */
  readonly localAddress: number;
  /** The node's own address in the overlay, the source of ICMP errors. */
  readonly nodeAddress: number;
}

/** `hop` is the peer's public address; absent if the peer has gone. */
export interface HopChange {
  readonly subnet: Subnet;
  readonly hop?: number;
}

/**
 * To the thread. Each message is followed by adding 1 to the eventfd `wakeFd` (of the first message),
 * for the thread sleeps in poll(2), not in its event loop.
 */
export type ToProxy =
  | { readonly kind: "start"; readonly wakeFd: number; readonly settings: ProxySettings }
  | { readonly kind: "settings"; readonly settings: ProxySettings }
  | { readonly kind: "hops"; readonly changes: readonly HopChange[] }
  /** Every peer has been told: from now on, what has no next hop is unreachable. */
  | { readonly kind: "complete" }
  | { readonly kind: "stop" };

/** From the thread. */
export type FromProxy =
  /** What is wrong with its two ends, after each change of that; empty if nothing is. */
  | { readonly kind: "state"; readonly problems: readonly string[] }
  /** Packets could not be sent, for this reason. */
  | { readonly kind: "unsent" } & Unsent
  | { readonly kind: "stopped" };
