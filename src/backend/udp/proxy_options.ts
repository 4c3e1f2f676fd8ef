/** What the proxy of the udp backend is made from; the same for the whole life of the process. */

import type { Prefix } from "../../addr/prefix.ts";
import type { Log } from "../../log/log.ts";

/**
 * A proxy between a TUN device and a UDP socket. The device is a kernel entry of its own (`TunLink`)
 * with its address and its route; the proxy attaches to it, also when it comes back after it was
 * deleted.
 */
export interface UdpProxyOptions {
  /** Name of the TUN device, `flannel0`. */
  readonly deviceName: string;
  /** UDP port: where the socket listens, what it sends from, and where the peers listen. */
  readonly port: number;
  /** The whole overlay network. A packet to an address of it that no peer has is unreachable. */
  readonly network: Prefix;
  readonly log: Log;
}
