/** What the log says of packets that the kernel did not take from the proxy. */

import { errnoName } from "../../../ffi/errno.ts";
import { formatIpv4 } from "../../addr/ip.ts";

export interface Unsent {
  readonly packets: number;
  readonly errno: number;
  /** Public address of the peer that the last of them was for, as a number in host byte order. */
  readonly destination: number;
}

/** One line: how many, to where, why, and what to do. `port` is the backend's UDP port. */
export function unsentText({ packets, errno, destination }: Unsent, port: number): string {
  const name = errnoName(errno);
  const address = formatIpv4(destination);
  const which = packets === 1
    ? `a packet to ${address}`
    : `${packets} packets, the last of them to ${address}`;
  const advice = ADVICE[name] ?? SEE_ROUTE;
  return `the proxy could not send ${which}: ${name}; ${advice({ address, port })}`;
}

type Advice = (way: { readonly address: string; readonly port: number }) => string;

const SEE_ROUTE: Advice = ({ address }) => `see "ip route get ${address}" and the firewall`;
const NO_ROUTE: Advice = ({ address }) =>
  `this host has no route to it, see "ip route get ${address}"`;

/** What each means to a sender of datagrams (udp(7), ip(7), and net/ipv4/route.c). */
const ADVICE: Readonly<Record<string, Advice>> = {
  EPERM: ({ port }) => `this host's firewall refuses it: let it pass UDP to port ${port}`,
  EACCES: ({ address }) =>
    `a route of this host prohibits it, or it is a broadcast address, see "ip route get ${address}"`,
  EMSGSIZE: ({ address }) =>
    `it is too large for the way, whose MTU "ip route get ${address}" shows: give the external ` +
    "interface that one",
  ENETUNREACH: NO_ROUTE,
  EHOSTUNREACH: NO_ROUTE,
};
