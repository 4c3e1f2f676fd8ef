/** The addresses of other hosts that this host depends on: gateways, name servers, the store's. */

import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { valuesOf } from "../addr/family.ts";
import { type IpAddress, parseIpAddress } from "../addr/ip.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import { unlessAborted } from "../base/abort.ts";
import type { Clock } from "../base/clock.ts";
import type { Kernel, RouteLookup } from "../kernel/kernel.ts";
import type { OverlayDeviceTest } from "./host_interface.ts";
import { DOCUMENTATION_ADDRESSES } from "./interface_reader.ts";

export interface HostDependencies {
  readonly gateways: readonly ExcludedAddress[];
  readonly resolvers: readonly ExcludedAddress[];
  /** The store's addresses. */
  readonly endpoints: readonly ExcludedAddress[];
}

export interface HostDependenciesOptions {
  readonly kernel: Pick<Kernel, "routeTo">;
  /** URLs of the store. */
  readonly endpoints: readonly string[];
  readonly isOverlayDevice: OverlayDeviceTest;
  readonly clock: Clock;
  /** Reads a file's text; by default from the file system. Rejects if it does not exist. */
  readonly read?: (path: string) => Promise<string>;
  /** All addresses of a host name; by default as the system resolves it. Rejects if unknown. */
  readonly resolve?: (name: string) => Promise<readonly string[]>;
}

/** Omits what cannot be determined: the overlay works without it. */
export async function readHostDependencies(
  options: HostDependenciesOptions,
): Promise<HostDependencies> {
  const [resolvers, found] = await Promise.all([readResolvers(options), readEndpoints(options)]);
  const endpoints = found.map(({ address, url }) => ({ address, what: `the address of ${url}` }));
  return { gateways: await readGateways(options, found), resolvers, endpoints };
}

/** The next hops of the default routes, and those to the store. */
async function readGateways(
  { kernel, isOverlayDevice }: HostDependenciesOptions,
  endpoints: readonly Endpoint[],
): Promise<ExcludedAddress[]> {
  const found: ExcludedAddress[] = [];
  const add = async (destination: IpAddress, what: string) => {
    const { link, gateway } = await kernel.routeTo(destination).catch(() => NO_ROUTE);
    // A route through the overlay: another node's subnet already contains the address.
    if (gateway === undefined || link !== undefined && isOverlayDevice(link)) return;
    if (!found.some(({ address }) => address === gateway)) found.push({ address: gateway, what });
  };
  for (const address of valuesOf<IpAddress>(DOCUMENTATION_ADDRESSES)) {
    await add(address, "the gateway of this host");
  }
  for (const { address, url } of endpoints) await add(address, `the gateway on the way to ${url}`);
  return found;
}

const NO_ROUTE: RouteLookup = { local: false };

const RESOLV_CONF = "/etc/resolv.conf";
/** The actual name servers, where /etc/resolv.conf names systemd-resolved's stub address. */
const RESOLVED_CONF = "/run/systemd/resolve/resolv.conf";

async function readResolvers(
  { read = readText }: HostDependenciesOptions,
): Promise<ExcludedAddress[]> {
  const named = nameservers(await read(RESOLV_CONF).catch(() => ""), RESOLV_CONF);
  if (!named.some(({ address }) => address.startsWith("127."))) return named;
  return [...named, ...nameservers(await read(RESOLVED_CONF).catch(() => ""), RESOLVED_CONF)];
}

/** resolv.conf(5). Ignores addresses with a zone: they are link-local and never in a subnet. */
function nameservers(text: string, path: string): ExcludedAddress[] {
  return [...text.matchAll(/^nameserver[ \t]+(\S+)/gm)]
    .map(([, address]) => parseIpAddress(address as string))
    .filter((address) => address !== undefined)
    .map((address) => ({ address, what: `a name server of ${path}` }));
}

interface Endpoint {
  readonly address: IpAddress;
  readonly url: string;
}

async function readEndpoints(
  { endpoints, clock, resolve = resolveName }: HostDependenciesOptions,
): Promise<Endpoint[]> {
  const lists = await Promise.all(endpoints.map(async (endpoint) => {
    const { hostname, origin: url } = new URL(endpoint);
    const name = hostname.replace(/^\[(.*)\]$/, "$1");
    const literal = parseIpAddress(name);
    const texts = literal === undefined
      ? await withinTimeLimit(resolve(name), clock).catch(() => [])
      : [literal];
    return texts.map(parseIpAddress).filter((address) => address !== undefined)
      .map((address) => ({ address, url }));
  }));
  return lists.flat();
}

function readText(path: string): Promise<string> {
  return readFile(path, "utf8");
}

async function resolveName(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}

/** How long a name server that does not respond may delay the start. */
const RESOLVE_MS = 2000;

async function withinTimeLimit<T>(result: Promise<T>, clock: Clock): Promise<T> {
  const limit = new AbortController();
  using _timer = clock.setTimer(RESOLVE_MS, () => limit.abort(new Error("no response")));
  return await unlessAborted(result, limit.signal);
}
