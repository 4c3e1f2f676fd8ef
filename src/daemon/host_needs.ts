/**
 * What this host needs outside of the overlay: its address, gateways, name servers and the store. No
 * subnet may hold it. Read at the start, and again when the external interface or a default route
 * changes.
 */

import type { NeededAddress } from "../addr/needed_address.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { ExternalInterface } from "../backend/backend.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { HostInterface } from "../iface/select.ts";
import {
  neededAddresses,
  networkRouteProblem,
  networkWarnings,
  sameAddresses,
  type Surroundings,
} from "../iface/surroundings.ts";
import { type Resource, type Route, RTPROT_FLANNEL } from "../state/resource.ts";

export interface HostNeedsOptions {
  readonly families: NetworkConfig["families"];
  readonly read: () => Promise<Surroundings>;
  /** Subnets that this node has or had. */
  readonly ownSubnets: readonly Prefix[];
}

export class HostNeeds {
  readonly #options: HostNeedsOptions;
  #ownSubnets: readonly Prefix[];
  #surroundings: Surroundings = { gateways: [], resolvers: [], endpoints: [] };
  #needed: readonly NeededAddress[] = [];

  constructor(options: HostNeedsOptions) {
    this.#options = options;
    this.#ownSubnets = options.ownSubnets;
  }

  /** Those inside the network. */
  get needed(): readonly NeededAddress[] {
    return this.#needed;
  }

  /** Reads them again, and says whether they are others than before. */
  async read(external: ExternalInterface): Promise<boolean> {
    this.#surroundings = await this.#options.read();
    return this.#settle(external);
  }

  /** This node has these subnets, so that a name server there is its own affair. */
  own(subnets: readonly Prefix[], external: ExternalInterface): void {
    this.#ownSubnets = [...this.#ownSubnets, ...subnets];
    this.#settle(external);
  }

  /** What the network covers, one line each. */
  warnings(interfaces: readonly HostInterface[]): string[] {
    return networkWarnings(this.#options.families, {
      interfaces,
      ownSubnets: this.#ownSubnets,
      surroundings: this.#surroundings,
    });
  }

  /** For a backend with `routesNetwork`; see `networkRouteProblem`. */
  routeProblem(
    interfaces: readonly HostInterface[],
    resources: readonly Resource[],
  ): string | undefined {
    const routes = resources.filter((one): one is Route =>
      one.kind === "route" && one.protocol !== RTPROT_FLANNEL && !one.link?.startsWith("flannel")
    );
    const surroundings = this.#surroundings;
    return networkRouteProblem(this.#options.families, { interfaces, routes, surroundings });
  }

  #settle(external: ExternalInterface): boolean {
    const needed = neededAddresses(this.#options.families, {
      external,
      ownSubnets: this.#ownSubnets,
      surroundings: this.#surroundings,
    });
    const isOther = !sameAddresses(needed, this.#needed);
    this.#needed = needed;
    return isOther;
  }
}
