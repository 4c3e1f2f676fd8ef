/** The MTU that IPv6 in a tunnel needs of the underlay. */

import { ConfigError } from "../config/config_error.ts";
import type { ExternalInterface } from "../host/external_interface.ts";

const IPV6_MIN_MTU_BYTES = 1280; // RFC 8200 section 5

/** Whether an underlay with this MTU has room for an IPv6 packet and the overhead of a tunnel. */
export function leavesRoomForIpv6(mtuBytes: number, overheadBytes: number): boolean {
  return mtuBytes - overheadBytes >= IPV6_MIN_MTU_BYTES;
}

/** Throws `ConfigError` if the option `MTU` is given and is too small. */
export function requireIpv6Mtu(mtuBytes: number | undefined, overheadBytes: number): void {
  if (mtuBytes === undefined || leavesRoomForIpv6(mtuBytes, overheadBytes)) return;
  const leftBytes = mtuBytes - overheadBytes;
  throw new ConfigError(
    `MTU ${mtuBytes} leaves ${leftBytes} bytes for packets in the tunnel; IPv6 needs ` +
      `${IPV6_MIN_MTU_BYTES}, so it must be at least ${IPV6_MIN_MTU_BYTES + overheadBytes}`,
    { key: "MTU" },
  );
}

/**
 * Why a tunnel over the interface cannot carry IPv6, in one line; `undefined` if it can. The kernel
 * rejects an IPv6 address on a device whose MTU is below the minimum (inet6_addr_add). A device
 * whose MTU drops below it loses its IPv6 addresses and routes (addrconf_notify).
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
