/** Packets that the proxy could not send: counted, and reported in the log. */

import { errnoName } from "../../../ffi/errno.ts";
import { formatIpv4 } from "../../addr/ip.ts";
import type { Clock } from "../../base/clock.ts";

export interface Unsent {
  readonly packets: number;
  readonly errno: number;
  /** Public address of the peer that the last one was for, as a number in host byte order. */
  readonly destination: number;
}

/** Counts packets by their error and reports each error at most once a minute. */
export class UnsentCounter {
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #report: (unsent: Unsent) => void;
  readonly #counts = new Map<number, { packets: number; reportedMs: number }>();

  constructor(clock: Pick<Clock, "nowMs">, report: (unsent: Unsent) => void) {
    this.#clock = clock;
    this.#report = report;
  }

  add({ errno, destination }: Omit<Unsent, "packets">): void {
    const nowMs = this.#clock.nowMs();
    let count = this.#counts.get(errno);
    if (count === undefined) {
      count = { packets: 0, reportedMs: -Infinity };
      this.#counts.set(errno, count);
    }
    count.packets++;
    if (nowMs - count.reportedMs < REPORT_MS) return;
    this.#report({ errno, destination, packets: count.packets });
    count.packets = 0;
    count.reportedMs = nowMs;
  }
}

const REPORT_MS = 60_000;

/** One line with the number, the destination, the reason and what to do. `port` is the UDP port. */
export function unsentText({ packets, errno, destination }: Unsent, port: number): string {
  const name = errnoName(errno);
  const address = formatIpv4(destination);
  const which = packets === 1
    ? `a packet to ${address}`
    : `${packets} packets, the last one to ${address}`;
  const advice = ADVICE[name] ?? CHECK_ROUTE;
  return `the proxy could not send ${which}: ${name}; ${advice({ address, port })}`;
}

type Advice = (peer: { readonly address: string; readonly port: number }) => string;

const CHECK_ROUTE: Advice = ({ address }) => `check "ip route get ${address}" and the firewall`;
const NO_ROUTE: Advice = ({ address }) =>
  `this host has no route to it, check "ip route get ${address}"`;

/** The meaning of each error to a sender of datagrams (udp(7), ip(7), and net/ipv4/route.c). */
const ADVICE: Readonly<Record<string, Advice>> = {
  EPERM: ({ port }) => `this host's firewall rejects it: allow UDP to port ${port}`,
  EACCES: ({ address }) =>
    `a route of this host prohibits it, or it is a broadcast address, ` +
    `check "ip route get ${address}"`,
  EMSGSIZE: ({ address }) =>
    `it exceeds the path MTU, see "ip route get ${address}": set the MTU of the external ` +
    "interface to that value",
  ENETUNREACH: NO_ROUTE,
  EHOSTUNREACH: NO_ROUTE,
};
