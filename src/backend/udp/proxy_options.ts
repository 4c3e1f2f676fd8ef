/** Settings of the proxy that do not change during a run. */

import type { Clock } from "../../base/clock.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { Log } from "../../log/log.ts";

/**
 * A proxy between a TUN device and a UDP socket. The device, its address and its route are kernel
 * entries that the reconciler maintains. The proxy attaches to the device, also when it has been
 * deleted and created again.
 */
export interface UdpProxyOptions {
  /** Name of the TUN device, `flannel0`. */
  readonly deviceName: string;
  /** UDP port of this node's socket and of the peers' sockets. */
  readonly port: number;
  /** The whole overlay network. Its addresses that no peer has are unreachable. */
  readonly network: Prefix;
  readonly clock: Clock;
  readonly log: Log;
}
