/**
 * The path of a packet to a workload on another node through the kernel's tables, compared with
 * what the daemon wants to be there. The client reads the tables, so this costs the daemon nothing.
 */

import { type IpAddress, parseIpAddress } from "../addr/ip.ts";
import type { Kernel, RouteLookup } from "../kernel/kernel.ts";
import type { Resource, ResourceKind } from "../state/resource.ts";
import { resourceKey } from "../state/resource_key.ts";
import { resourceText } from "../state/resource_text.ts";
import type { EntryDocument, PeerDocument } from "./peer_document.ts";

export interface PathStep {
  readonly ok: boolean;
  /** What the kernel has. */
  readonly text: string;
  /** Why it is wrong; `null` if it is not. */
  readonly problem: string | null;
}

type PathKernel = Pick<Kernel, "routeTo" | "dump">;

/**
 * The route that the kernel chooses, each entry for the peer, and the route of the outer packet to
 * the peer's public address. Throws `KernelError`.
 */
export async function packetPath(
  address: IpAddress,
  { entries, publicAddresses, path }: PeerDocument,
  kernel: PathKernel,
): Promise<PathStep[]> {
  const wanted = entries ?? [];
  const devices = new Set(wanted.flatMap(({ device }) => device === null ? [] : [device]));
  const steps = [routeStep(address, await kernel.routeTo(address), devices)];
  steps.push(...await entrySteps(wanted, { kernel, devices }));
  if (path !== "tunnel") return steps;
  for (const text of publicAddresses) {
    const outer = parseIpAddress(text);
    if (outer !== undefined) steps.push(outerStep(outer, await kernel.routeTo(outer), devices));
  }
  return steps;
}

function step(text: string, problem?: string | false): PathStep {
  return { ok: !problem, text, problem: problem || null };
}

/** The first decision: another route, or a rule of policy routing, may take precedence. */
function routeStep(
  address: IpAddress,
  route: RouteLookup,
  devices: ReadonlySet<string>,
): PathStep {
  const text = routeText(address, route);
  if (route.local) return step(text, "it is an address of this host");
  if (route.link === undefined) return step(text, "there is no route");
  return step(
    text,
    devices.size > 0 && !devices.has(route.link) &&
      `another route or rule takes precedence: flanneld's is by ${[...devices].join(" or ")}`,
  );
}

function outerStep(
  address: IpAddress,
  route: RouteLookup,
  devices: ReadonlySet<string>,
): PathStep {
  const text = `the outer packet: ${routeText(address, route)}`;
  if (route.local) return step(text, "the public address is one of this host");
  if (route.link === undefined) return step(text, "there is no route to the public address");
  return step(text, devices.has(route.link) && "the tunnel leads into itself");
}

function routeText(address: IpAddress, { link, gateway, source, local }: RouteLookup): string {
  if (link === undefined && !local) return `route to ${address}: unreachable`;
  const words = [gateway && `via ${gateway}`, link && `dev ${link}`, source && `src ${source}`];
  return `route to ${address}: ${local ? "local " : ""}${words.filter(Boolean).join(" ")}`;
}

async function entrySteps(
  wanted: readonly EntryDocument[],
  { kernel, devices }: { readonly kernel: PathKernel; readonly devices: ReadonlySet<string> },
): Promise<PathStep[]> {
  if (wanted.length === 0) return [];
  const kinds = [...new Set(wanted.map(({ key }) => key.slice(0, key.indexOf(" "))))];
  const found = await kernel.dump(kinds as ResourceKind[], devices);
  const actual = new Map<string, Resource>(found.map((one) => [resourceKey(one), one]));
  return wanted.map(({ key, text }) => entryStep(text, actual.get(key)));
}

function entryStep(wanted: string, actual: Resource | undefined): PathStep {
  if (actual === undefined) return step(wanted, "the kernel does not have it");
  const text = resourceText(actual);
  // A WireGuard peer may have roamed: the kernel has learned another endpoint.
  const isRoamed = actual.kind === "wireguard-peer" && actual.roamed === true;
  return step(text, text !== wanted && !isRoamed && `it should be: ${wanted}`);
}
