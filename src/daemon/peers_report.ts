/** The document of `flanneld peers`, from what the daemon knows. Loaded when it is served. */

import { valuesOf } from "../addr/family.ts";
import { parsePrefix, prefixContainsAddress } from "../addr/prefix.ts";
import { parseIpAddress } from "../addr/ip.ts";
import { isJsonObject } from "../base/json_object.ts";
import { QueryError } from "../control/query_error.ts";
import type { PeerDocument, PeersDocument } from "../control/peer_document.ts";
import type { PeerState } from "../overlay/peer_paths.ts";
import { deviceOf, resourceKey } from "../state/resource_key.ts";
import { resourceText } from "../state/resource_text.ts";
import type { Lease } from "../subnet/lease.ts";
import type { PeerSource } from "./network_status.ts";
import type { StatusFacts } from "./status_facts.ts";

/**
 * All peers, or those that `address` or `subnet` selects, which then have their entries. Throws
 * `QueryError` for an invalid query.
 */
export async function peersDocument(
  { network }: StatusFacts,
  query: URLSearchParams,
): Promise<PeersDocument> {
  const isSelected = selection(query);
  if (network === undefined) return { peers: [] };
  const { leases } = network;
  const states = leases.peerStates();
  if (isSelected !== undefined) {
    const selected = states.filter(({ lease }) => isSelected(lease));
    const peers = selected.map(async (state) => ({
      ...peerDocument(state),
      entries: await entriesOf(state, leases),
    }));
    return { peers: await Promise.all(peers) };
  }
  const rejected = [...leases.rejected].map(([lease, problem]) => ({
    lease,
    subnets: [],
    publicAddresses: [],
    path: "ignored" as const,
    identities: [],
    problem,
    entries: null,
  }));
  return { peers: [...states.map(peerDocument), ...rejected] };
}

function selection(query: URLSearchParams): ((lease: Lease) => boolean) | undefined {
  const [address, subnet] = [query.get("address"), query.get("subnet")];
  if (address !== null) {
    const ip = parseIpAddress(address);
    if (ip === undefined) throw new QueryError("the value of address is not an IP address");
    return ({ subnets, attributes: { publicAddresses } }) =>
      valuesOf(subnets).some((one) => prefixContainsAddress(one, ip)) ||
      valuesOf(publicAddresses).includes(ip);
  }
  if (subnet === null) return undefined;
  const prefix = parsePrefix(subnet);
  if (prefix === undefined) throw new QueryError("the value of subnet is not a subnet");
  return ({ subnets }) => valuesOf(subnets).includes(prefix);
}

function peerDocument({ lease, path, problem }: PeerState): PeerDocument {
  const { publicAddresses, backendData } = lease.attributes;
  return {
    lease: lease.key,
    subnets: valuesOf(lease.subnets),
    publicAddresses: valuesOf(publicAddresses),
    path,
    identities: [...new Set(valuesOf(backendData).flatMap(identitiesOf))],
    problem: problem ?? null,
    entries: null,
  };
}

/** What distinguishes the device of a node: the MAC address of vxlan, the key of wireguard. */
function identitiesOf(data: unknown): string[] {
  if (!isJsonObject(data)) return [];
  return [data["VtepMAC"], data["PublicKey"]].filter((value) => typeof value === "string");
}

async function entriesOf({ lease, path }: PeerState, leases: PeerSource) {
  if (path === "ignored") return [];
  const entries = await leases.entriesOf(lease);
  return entries.map((entry) => ({
    key: resourceKey(entry),
    device: deviceOf(entry) ?? null,
    text: resourceText(entry),
  }));
}
