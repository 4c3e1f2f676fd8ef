/**
 * The input of a command about a node: environment variables, and text on standard input.
 *
 * Leases are not trusted: anyone with write access to the store can put anything into one. So a
 * variable only holds an address or a network that flanneld has parsed and formatted itself. The
 * free text of `BackendData` goes to standard input, where no shell interprets it. Nothing from a
 * lease becomes part of the text of a command.
 */

import { familiesOf, type PerFamily } from "../../addr/family.ts";
import { FAMILIES, type Family, type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { parsePrefix, type Prefix } from "../../addr/prefix.ts";
import type { FamilyNetwork } from "../../config/network_config.ts";
import type { Lease } from "../../subnet/lease.ts";
import { InvalidPeerError, peerAddress, requireBackendType } from "../../overlay/peer_lease.ts";
import { EXTENSION } from "./extension_descriptor.ts";

export interface HookInput {
  readonly variables: HookVariables;
  readonly stdin: string;
}

/** Every variable is set, to the empty string if it does not apply. */
export type HookVariables = Readonly<Record<HookVariable, string>>;
export type HookVariable = (typeof VARIABLES)[Family][keyof (typeof VARIABLES)[Family]];

/** The names that Go flannel uses; `IPV6NETWORK` is new. */
const VARIABLES = {
  4: { network: "NETWORK", subnet: "SUBNET", publicAddress: "PUBLIC_IP" },
  6: { network: "IPV6NETWORK", subnet: "IPV6SUBNET", publicAddress: "PUBLIC_IPV6" },
} as const;

/** etcd's own limit is 1.5 MiB for a whole request, that of a Node's annotations 256 KiB. */
export const MAX_DATA_BYTES = 64 * 1024;

export interface HookSubject {
  readonly networks: PerFamily<FamilyNetwork>;
  readonly subnets: PerFamily<Prefix>;
  readonly publicAddresses: PerFamily<IpAddress>;
}

/** The variables about a node, for the families of the network. */
export function hookVariables(subject: HookSubject): HookVariables {
  const values: Record<string, string> = {};
  for (const family of FAMILIES) {
    const network = subject.networks[family];
    const names = VARIABLES[family];
    values[names.network] = network?.network ?? "";
    values[names.subnet] = network && subject.subnets[family] || "";
    values[names.publicAddress] = network && subject.publicAddresses[family] || "";
  }
  return values as HookVariables;
}

/** The input of the commands for a peer. Throws `InvalidPeerError`. */
export function peerInput(peer: Lease, networks: PerFamily<FamilyNetwork>): HookInput {
  requireBackendType(peer, EXTENSION.type);
  const families = familiesOf(networks).filter((family) => peer.subnets[family] !== undefined);
  for (const family of families) peerAddress(peer, family);
  const { subnets, attributes: { publicAddresses } } = peer;
  return {
    variables: hookVariables({ networks, subnets, publicAddresses }),
    // With the newline that a shell's `read` waits for.
    stdin: `${peerData(peer)}\n`,
  };
}

/** One text for both families, under the key of IPv4 even without IPv4, as in Go flannel. */
function peerData(peer: Lease): string {
  const data = peer.attributes.backendData[4] ?? "";
  if (typeof data !== "string") {
    throw new InvalidPeerError("its BackendData is not a string");
  }
  const bytes = Buffer.byteLength(data);
  if (bytes > MAX_DATA_BYTES) {
    throw new InvalidPeerError(
      `its BackendData has ${bytes} bytes, more than ${MAX_DATA_BYTES}`,
    );
  }
  return data;
}

/** The node's subnets, for messages. */
export function subjectText({ SUBNET, IPV6SUBNET }: HookVariables): string {
  return [SUBNET, IPV6SUBNET].filter((text) => text !== "").join(" and ");
}

/** Whether two nodes have a subnet in common. */
export function shareSubnet(a: HookVariables, b: HookVariables): boolean {
  return a.SUBNET !== "" && a.SUBNET === b.SUBNET ||
    a.IPV6SUBNET !== "" && a.IPV6SUBNET === b.IPV6SUBNET;
}

export function sameVariables(a: HookVariables, b: HookVariables): boolean {
  return (Object.keys(a) as HookVariable[]).every((name) => a[name] === b[name]);
}

export function sameInput(a: HookInput, b: HookInput): boolean {
  return a.stdin === b.stdin && sameVariables(a.variables, b.variables);
}

/** The variables of a record that an earlier run wrote; `undefined` if they are invalid. */
export function readVariables(value: unknown): HookVariables | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const given = value as Record<string, unknown>;
  for (const { network, subnet, publicAddress } of Object.values(VARIABLES)) {
    if (!isEmptyOr(parsePrefix, given[network])) return undefined;
    if (!isEmptyOr(parsePrefix, given[subnet])) return undefined;
    if (!isEmptyOr(parseIpAddress, given[publicAddress])) return undefined;
  }
  const names = Object.values(VARIABLES).flatMap((family) => Object.values(family));
  return Object.fromEntries(names.map((name) => [name, given[name]])) as HookVariables;
}

/** The input of a record that an earlier run wrote; `undefined` if it is invalid. */
export function readInput(value: unknown): HookInput | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { variables, stdin } = value as Record<string, unknown>;
  const read = readVariables(variables);
  return read === undefined || typeof stdin !== "string" ? undefined : { variables: read, stdin };
}

function isEmptyOr(parse: (text: string) => unknown, value: unknown): boolean {
  return value === "" || typeof value === "string" && parse(value) !== undefined;
}
