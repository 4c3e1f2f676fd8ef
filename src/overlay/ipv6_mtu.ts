/** What IPv6 in an overlay needs of the underlay, for backends that wrap something around a packet. */

import { ConfigError } from "../config/config_error.ts";
import type { ExternalInterface } from "../host/external_interface.ts";

const IPV6_MIN_MTU_BYTES = 1280; // RFC 8200 section 5

/** Whether what is wrapped around a packet leaves enough of an underlay with this MTU. */
export function leavesRoomForIpv6(mtuBytes: number, overheadBytes: number): boolean {
  return mtuBytes - overheadBytes >= IPV6_MIN_MTU_BYTES;
}

/** Throws `ConfigError` where the option `MTU`, if it is given, leaves too little. */
export function requireIpv6Mtu(mtuBytes: number | undefined, overheadBytes: number): void {
  if (mtuBytes === undefined || leavesRoomForIpv6(mtuBytes, overheadBytes)) return;
  throw new ConfigError(
    `MTU ${mtuBytes} leaves ${
      mtuBytes - overheadBytes
    } bytes for packets in the tunnel; IPv6 needs ` +
      `${IPV6_MIN_MTU_BYTES}, so it must be at least ${IPV6_MIN_MTU_BYTES + overheadBytes}`,
  );
}

/**
 * Why a tunnel over the interface cannot carry IPv6, in one line; `undefined` if it can. The kernel
 * refuses an IPv6 address on a device with an MTU below the least (inet6_addr_add), and one whose MTU
 * sinks below it loses those it has, and its routes (addrconf_notify).
 */
export function ipv6MtuProblem(
  { name, mtuBytes }: ExternalInterface,
  overheadBytes: number,
): string | undefined {
  if (leavesRoomForIpv6(mtuBytes, overheadBytes)) return undefined;
  const neededBytes = IPV6_MIN_MTU_BYTES + overheadBytes;
  return `interface ${name} has an MTU of ${mtuBytes} bytes, which leaves ` +
    `${mtuBytes - overheadBytes} for packets in the tunnel; IPv6 needs ${IPV6_MIN_MTU_BYTES} ` +
    `(RFC 8200): raise its MTU to at least ${neededBytes}, or set EnableIPv6 to false in the ` +
    "network configuration";
}
