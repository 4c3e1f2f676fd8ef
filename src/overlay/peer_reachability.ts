/**
 * How this host reaches its peers' public addresses. The kernel is asked once for each address, and
 * again after a relevant route, address or link has changed.
 */

import { entriesOf, mapFamilies, valuesOf } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { type Prefix, prefixContainsAddress } from "../addr/prefix.ts";
import type { Kernel, KernelEvent, RouteLookup } from "../kernel/kernel.ts";
import { isOurs, type Ownership } from "../state/ownership.ts";
import type { Lease } from "../subnet/lease.ts";
import type { PeerReachability } from "./backend.ts";
import type { ExternalInterface } from "../host/external_interface.ts";

export interface ReachabilitySourceOptions {
  readonly kernel: Kernel;
  /** Current ownership: our own routes do not affect how public addresses are reached. */
  readonly ownership: () => Ownership;
  /** The current external interface. */
  readonly external: () => Pick<ExternalInterface, "name" | "ifindex">;
  /** Earlier results may be out of date. May be called often. */
  readonly onChanged: () => void;
}

export class ReachabilitySource implements Disposable {
  readonly #options: ReachabilitySourceOptions;
  readonly #routes = new Map<IpAddress, RouteLookup>();
  readonly #watch: Disposable;
  /** Counts invalidations, so that the result of a look-up that began before one is not kept. */
  #epoch = 0;

  constructor(options: ReachabilitySourceOptions) {
    this.#options = options;
    this.#watch = options.kernel.watch((event) => this.#onEvent(event));
  }

  /** Costs at most one look-up for each family. */
  async reachabilityOf(peer: Lease): Promise<PeerReachability> {
    const { publicAddresses } = peer.attributes;
    const routes: { 4?: RouteLookup; 6?: RouteLookup } = {};
    for (const [family, address] of entriesOf(publicAddresses)) {
      routes[family] = await this.#lookUp(address);
    }
    const { name, ifindex } = this.#options.external();
    // If the interface has just been renamed, `name` is still the old name.
    const isExternal = (route: RouteLookup) => route.link === name || route.ifindex === ifindex;
    return {
      direct: mapFamilies(
        routes,
        (route) => isExternal(route) && route.gateway === undefined && !route.local,
      ),
      path: mapFamilies(routes, pathText),
    };
  }

  /** Forgets a peer that is gone or whose public address may have changed. */
  forget(peer: Lease): void {
    for (const address of valuesOf(peer.attributes.publicAddresses)) {
      this.#routes.delete(address);
    }
  }

  invalidate(): void {
    this.#epoch++;
    this.#routes.clear();
    this.#options.onChanged();
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }

  async #lookUp(address: IpAddress): Promise<RouteLookup> {
    const known = this.#routes.get(address);
    if (known !== undefined) return known;
    const epoch = this.#epoch;
    const route = await this.#options.kernel.routeTo(address);
    if (epoch === this.#epoch) this.#routes.set(address, route);
    return route;
  }

  #onEvent(event: KernelEvent): void {
    if (event.kind === "overrun") return this.invalidate();
    const { resource } = event;
    const ownership = this.#options.ownership();
    switch (resource.kind) {
      case "route":
        if (!isOurs(resource, ownership)) this.#invalidateWithin(resource.destination);
        break;
      case "address":
        if (!ownership.links.has(resource.link)) this.invalidate();
        break;
      case "link":
        // An interface that goes down loses its routes without a notification for each.
        if (resource.name === this.#options.external().name) this.invalidate();
        break;
    }
  }

  #invalidateWithin(destination: Prefix): void {
    let hasForgotten = false;
    for (const address of this.#routes.keys()) {
      if (!prefixContainsAddress(destination, address)) continue;
      this.#routes.delete(address);
      hasForgotten = true;
    }
    this.#epoch++;
    if (hasForgotten) this.#options.onChanged();
  }
}

function pathText({ link, gateway, local }: RouteLookup): string {
  if (local) return "an address of this host";
  if (link === undefined) return "unreachable";
  return gateway === undefined ? `dev ${link}` : `via ${gateway} dev ${link}`;
}
