/** What the backends have in common that send through an ipip device, bare or in UDP. */

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
import { tunnelEnd } from "../../overlay/peer_lease.ts";
import { peerRoute } from "../../overlay/peer_route.ts";
import { BackendError } from "../../overlay/backend_error.ts";

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
  external: ExternalInterface,
  by: { readonly link: string; readonly onlink: boolean },
): Route[] {
  const subnet = peer.subnets[4];
  if (subnet === undefined) return [];
  return [peerRoute({ subnet, gateway: tunnelEnd(peer, 4, external), ...by })];
}

/**
 * Removes the tunnel of the other one of these backends, which this host ran before: the kernel takes
 * one tunnel only from an address to any other. A device of this name that is something else stays,
 * and so does a tunnel from another address, which may be another daemon's. Throws `BackendError` for
 * one from this address that has an address of another network.
 */
export async function removeFormerTunnel(
  { kernel, log, config }: BackendHost,
  { name, local }: { readonly name: string; readonly local: IpAddress },
): Promise<void> {
  const former = (await kernel.link(name))?.link;
  if (former?.type !== "ipip" || former.local !== local) return;
  await refuseOtherNetwork(former, { kernel, config });
  log.info(`deleting the device ${name}, which another backend has left behind`);
  const { fouPort } = former;
  const entries = fouPort === undefined ? [former] : [former, receivePort(fouPort)];
  const steps = entries.map((resource) => ({ op: "delete" as const, resource }));
  for (const error of await kernel.apply(steps)) if (error !== undefined) throw error;
}

/** Refuses a tunnel whose address shows that it is another daemon's, for another network. */
async function refuseOtherNetwork(
  { name, local }: IpipLink,
  { kernel, config }: Pick<BackendHost, "kernel" | "config">,
): Promise<void> {
  const network = config.families[4]?.network;
  const addresses = (await kernel.dump(["address"], new Set([name])))
    .map((entry) => (entry as Address).address);
  const isOurs = (address: IpAddress) =>
    network !== undefined && prefixContainsAddress(network, address);
  if (addresses.length === 0 || addresses.some(isOurs)) return;
  throw new BackendError(
    `the device ${name} with the address ${addresses[0]} of another network is a tunnel from ` +
      `${local}, and the kernel takes only one from each address; if no other daemon uses it, ` +
      `delete it with "ip link delete ${name}"`,
  );
}

/** Where a tunnel in UDP receives. */
export function receivePort(port: number): FouPort {
  return { kind: "fou", port, protocol: IPPROTO_IPIP };
}

/** IPv4 in IPv4; netinet/in.h. */
const IPPROTO_IPIP = 4;
