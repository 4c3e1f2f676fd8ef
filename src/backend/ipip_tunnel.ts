/** What the backends have in common that send through an ipip device, bare or in UDP. */

import type { IpAddress } from "../addr/ip.ts";
import { type FouPort, type IpipLink, NO_MAC, type Route } from "../state/resource.ts";
import type { Lease } from "../subnet/lease.ts";
import type { BackendHost } from "./backend.ts";
import { peerAddress } from "./peer_lease.ts";
import { peerRoute } from "./peer_route.ts";

/** The device of the ipip backend. */
export const IPIP_DEVICE = "flannel.ipip";
/** The device of the udp backend, whichever data path it has. */
export const UDP_DEVICE = "flannel0";
/** An IPv4 header without options (RFC 791). */
export const IPV4_HEADER_BYTES = 20;

export interface TunnelOptions {
  readonly name: string;
  readonly mtuBytes: number;
  /** Source of the outer packets, and the destination of those that are for the tunnel. */
  readonly local: IpAddress;
  /** The UDP port, if the tunnel is one in UDP. */
  readonly fouPort?: number;
}

/** The device. */
export function ipipDevice(options: TunnelOptions): IpipLink {
  return { kind: "link", type: "ipip", mac: NO_MAC, up: true, ...options };
}

/** The route to a peer by its public address: direct, or through a tunnel, which sends there. */
export function ipv4Route(
  peer: Lease,
  by: { readonly link: string; readonly onlink: boolean },
): Route[] {
  const subnet = peer.subnets[4];
  return subnet === undefined ? [] : [peerRoute({ subnet, gateway: peerAddress(peer, 4), ...by })];
}

/**
 * Removes the tunnel of the other one of these backends, which this host ran before: the kernel takes
 * one tunnel only from an address to any other. A device of this name that is something else stays,
 * and so does a tunnel from another address, which may be another daemon's.
 */
export async function removeFormerTunnel(
  { kernel, log }: BackendHost,
  { name, local }: { readonly name: string; readonly local: IpAddress },
): Promise<void> {
  const former = (await kernel.link(name))?.link;
  if (former?.type !== "ipip" || former.local !== local) return;
  log.info(`deleting the device ${name}, which another backend has left behind`);
  const { fouPort } = former;
  const entries = fouPort === undefined ? [former] : [former, receivePort(fouPort)];
  const steps = entries.map((resource) => ({ op: "delete" as const, resource }));
  for (const error of await kernel.apply(steps)) if (error !== undefined) throw error;
}

/** Where a tunnel in UDP receives. */
export function receivePort(port: number): FouPort {
  return { kind: "fou", port, protocol: IPPROTO_IPIP };
}

/** IPv4 in IPv4; netinet/in.h. */
const IPPROTO_IPIP = 4;
