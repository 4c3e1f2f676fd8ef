/** The messages between the daemon and the proxy's thread. */

import type { Subnet } from "./next_hops.ts";
import type { Unsent } from "./unsent.ts";

/** Addresses are unsigned 32-bit numbers in host byte order. */
export interface ProxySettings {
  readonly deviceName: string;
  readonly port: number;
  readonly network: Subnet;
  /** The address that the socket is bound to. */
  readonly localAddress: number;
  /** The node's own address in the overlay, the source of ICMP errors. */
  readonly nodeAddress: number;
}

/** `hop` is the peer's public address; absent if the peer has left. */
export interface HopChange {
  readonly subnet: Subnet;
  readonly hop?: number;
}

/**
 * To the thread. After each message, 1 is added to the eventfd `wakeFd` of the first message,
 * because the thread sleeps in poll(2), not in its event loop.
 */
export type ProxyCommand =
  | { readonly kind: "start"; readonly wakeFd: number; readonly settings: ProxySettings }
  | { readonly kind: "settings"; readonly settings: ProxySettings }
  | { readonly kind: "hops"; readonly changes: readonly HopChange[] }
  /** All peers are known: from now on, destinations without a next hop are unreachable. */
  | { readonly kind: "complete" }
  | { readonly kind: "stop" };

/** From the thread. */
export type ProxyEvent =
  /** The problems of its two ends have changed. */
  | { readonly kind: "state"; readonly problems: readonly string[] }
  /** Packets could not be sent, for this reason. */
  | { readonly kind: "unsent" } & Unsent
  | { readonly kind: "stopped" };
