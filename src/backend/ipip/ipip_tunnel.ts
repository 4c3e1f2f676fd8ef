/** Shared by the backends that send through an ipip device: ipip, and udp in the kernel. */

import type { IpAddress } from "../../addr/ip.ts";
import { prefixContainsAddress } from "../../addr/prefix.ts";
import {
  type Address,
  type FouPort,
  type IpipLink,
  NO_MAC,
  type Route,
} from "../../state/resource.ts";
import type { Lease } from "../../subnet/lease.ts";
import type { BackendHost } from "../../overlay/backend.ts";
import type { ExternalInterface } from "../../host/external_interface.ts";
import { ipv4Network } from "../../overlay/ipv4_network.ts";
import { tunnelEnd } from "../../overlay/peer_lease.ts";
import { peerRoute } from "../../overlay/peer_route.ts";
import { BackendError } from "../../overlay/backend_error.ts";

/** An IPv4 header without options (RFC 791). */
export const IPV4_HEADER_BYTES = 20;

export interface TunnelOptions {
  readonly name: string;
  readonly mtuBytes: number;
  /** Source of the outer packets sent, and destination of the outer packets received. */
  readonly local: IpAddress;
  /** UDP port, if the tunnel is one in UDP. */
  readonly fouPort?: number;
}

export function ipipDevice(options: TunnelOptions): IpipLink {
  return { kind: "link", type: "ipip", mac: NO_MAC, up: true, ...options };
}

/**
 * The route to a peer with its public address as next hop: without encapsulation or by a tunnel.
 */
export function ipv4Route(
  peer: Lease,
  external: ExternalInterface,
  by: { readonly link: string; readonly onlink: boolean },
): Route[] {
  const subnet = peer.subnets[4];
  if (subnet === undefined) return [];
  return [peerRoute({ subnet, gateway: tunnelEnd(peer, 4, external), ...by })];
}

/**
 * Removes the tunnel of the other of these backends, which this host ran before: the kernel allows
 * only one tunnel with a given local and no remote address. A device of this name that is not such
 * a tunnel stays, and so does a tunnel with another local address, which may be another daemon's.
 * Throws `BackendError` for one with this local address that belongs to another network.
 */
export async function removeOtherTunnel(
  { kernel, log, config }: BackendHost,
  { name, local }: { readonly name: string; readonly local: IpAddress },
): Promise<void> {
  const tunnel = (await kernel.link(name))?.link;
  if (tunnel?.type !== "ipip" || tunnel.local !== local) return;
  await requireOurNetwork(tunnel, { kernel, config });
  log.info(`deleting device ${name} of the previous backend`);
  const { fouPort } = tunnel;
  const entries = fouPort === undefined ? [tunnel] : [tunnel, receivePort(fouPort)];
  const steps = entries.map((resource) => ({ op: "delete" as const, resource }));
  for (const error of await kernel.apply(steps)) if (error !== undefined) throw error;
}

/**
 * Throws for a tunnel with an address that shows that it is another daemon's, for another network.
 */
async function requireOurNetwork(
  { name, local }: IpipLink,
  { kernel, config }: Pick<BackendHost, "kernel" | "config">,
): Promise<void> {
  const network = ipv4Network(config);
  const addresses = (await kernel.dump(["address"], new Set([name])))
    .map((entry) => (entry as Address).address);
  const isOurs = (address: IpAddress) => prefixContainsAddress(network, address);
  if (addresses.length === 0 || addresses.some(isOurs)) return;
  throw new BackendError(
    `device ${name} with address ${
      addresses[0]
    } is a tunnel from ${local} for another network, and ` +
      "the kernel allows only one from each address; if no other daemon uses it, run " +
      `"ip link delete ${name}"`,
  );
}

/** The port on which a tunnel in UDP receives. */
export function receivePort(port: number): FouPort {
  return { kind: "fou", port, protocol: IPPROTO_IPIP };
}

/** IPv4 in IPv4; netinet/in.h. */
const IPPROTO_IPIP = 4;
