/**
 * How this host reaches its peers' public addresses, asked of the kernel once for each address and
 * again when a route or an address that concerns it changes.
 */

import { mapFamilies } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { type Prefix, prefixContainsAddress } from "../addr/prefix.ts";
import type { Kernel, KernelEvent, RouteLookup } from "../kernel/kernel.ts";
import { isOurs, type Ownership } from "../state/ownership.ts";
import type { Lease } from "../subnet/lease.ts";
import type { PeerReachability } from "./backend.ts";
import type { ExternalInterface } from "../host/external_interface.ts";

export interface ReachabilitySourceOptions {
  readonly kernel: Kernel;
  /** Current ownership: routes of ours say nothing about the way to public addresses. */
  readonly ownership: () => Ownership;
  /** The external interface, at present. */
  readonly external: () => Pick<ExternalInterface, "name" | "ifindex">;
  /** Answers given before may be wrong now: ask again. May be called often. */
  readonly onChanged: () => void;
}

export class ReachabilitySource implements Disposable {
  readonly #options: ReachabilitySourceOptions;
  readonly #answers = new Map<IpAddress, RouteLookup>();
  readonly #watch: Disposable;
  /** Counts invalidations, so that an answer which was under way is not kept. */
  #epoch = 0;

  constructor(options: ReachabilitySourceOptions) {
    this.#options = options;
    this.#watch = options.kernel.watch((event) => this.#onEvent(event));
  }

  /** Facts about the peer's public addresses: at most one look-up for each family. */
  async reachabilityOf(peer: Lease): Promise<PeerReachability> {
    const { publicAddresses } = peer.attributes;
    const answers: { 4?: RouteLookup; 6?: RouteLookup } = {};
    for (const family of [4, 6] as const) {
      const address = publicAddresses[family];
      if (address !== undefined) answers[family] = await this.#lookUp(address);
    }
    const { name, ifindex } = this.#options.external();
    // If it has just been renamed, `name` is still the old name.
    const isExternal = (answer: RouteLookup) => answer.link === name || answer.ifindex === ifindex;
    return {
      direct: mapFamilies(
        answers,
        (answer) => isExternal(answer) && answer.gateway === undefined && !answer.local,
      ),
      path: mapFamilies(answers, wayText),
    };
  }

  /** Drops the answers about a peer that is gone. */
  forget(peer: Lease): void {
    for (const family of [4, 6] as const) {
      const address = peer.attributes.publicAddresses[family];
      if (address !== undefined) this.#answers.delete(address);
    }
  }

  invalidate(): void {
    this.#epoch++;
    this.#answers.clear();
    this.#options.onChanged();
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }

  async #lookUp(address: IpAddress): Promise<RouteLookup> {
    const known = this.#answers.get(address);
    if (known !== undefined) return known;
    const epoch = this.#epoch;
    const answer = await this.#options.kernel.routeTo(address);
    if (epoch === this.#epoch) this.#answers.set(address, answer);
    return answer;
  }

  #onEvent(event: KernelEvent): void {
    if (event.kind === "overrun") return this.invalidate();
    const { resource } = event;
    const ownership = this.#options.ownership();
    switch (resource.kind) {
      case "route":
        if (!isOurs(resource, ownership)) this.#invalidateInside(resource.destination);
        break;
      case "address":
        if (!ownership.links.has(resource.link)) this.invalidate();
        break;
      case "link":
        // Going down, it loses its routes without a notification of each.
        if (resource.name === this.#options.external().name) this.invalidate();
        break;
    }
  }

  #invalidateInside(destination: Prefix): void {
    let some = false;
    for (const address of this.#answers.keys()) {
      if (!prefixContainsAddress(destination, address)) continue;
      this.#answers.delete(address);
      some = true;
    }
    this.#epoch++;
    if (some) this.#options.onChanged();
  }
}

function wayText({ link, gateway, local }: RouteLookup): string {
  if (local) return "an address of this host";
  if (link === undefined) return "unreachable";
  return gateway === undefined ? `dev ${link}` : `via ${gateway} dev ${link}`;
}
