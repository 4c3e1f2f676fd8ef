/**
 * What this host needs outside of the overlay: its address, gateways, name servers and the store. No
 * subnet may hold it. Read at the start, and again when the external interface or a default route
 * changes.
 */

import type { ExcludedAddress } from "../addr/excluded_address.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { ExternalInterface } from "../backend/backend.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { HostInterface } from "../iface/select.ts";
import {
  excludedAddresses,
  type HostDependencies,
  networkRouteProblem,
  networkWarnings,
  sameAddresses,
} from "../iface/network_overlap.ts";
import { type Resource, type Route, RTPROT_FLANNEL } from "../state/resource.ts";

export interface ExcludedAddressesOptions {
  readonly families: NetworkConfig["families"];
  readonly read: () => Promise<HostDependencies>;
  /** Subnets that this node has or had. */
  readonly ownSubnets: readonly Prefix[];
}

export class ExcludedAddresses {
  readonly #options: ExcludedAddressesOptions;
  #ownSubnets: readonly Prefix[];
  #dependencies: HostDependencies = { gateways: [], resolvers: [], endpoints: [] };
  #addresses: readonly ExcludedAddress[] = [];

  constructor(options: ExcludedAddressesOptions) {
    this.#options = options;
    this.#ownSubnets = options.ownSubnets;
  }

  /** Those inside the network. */
  get addresses(): readonly ExcludedAddress[] {
    return this.#addresses;
  }

  /** Reads them again, and says whether they are others than before. */
  async read(external: ExternalInterface): Promise<boolean> {
    this.#dependencies = await this.#options.read();
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
      dependencies: this.#dependencies,
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
    const dependencies = this.#dependencies;
    return networkRouteProblem(this.#options.families, { interfaces, routes, dependencies });
  }

  #settle(external: ExternalInterface): boolean {
    const excluded = excludedAddresses(this.#options.families, {
      external,
      ownSubnets: this.#ownSubnets,
      dependencies: this.#dependencies,
    });
    const isOther = !sameAddresses(excluded, this.#addresses);
    this.#addresses = excluded;
    return isOther;
  }
}
