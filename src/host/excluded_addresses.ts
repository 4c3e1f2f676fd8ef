/**
 * The addresses that no node's subnet may contain: this host's own, its gateways, name servers and
 * the store's. Read at the start, and again when the external interface or a default route
 * changes.
 */

import type { ExcludedAddress } from "../addr/excluded_address.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { HostDependencies } from "./host_dependencies.ts";
import type { HostInterface, OverlayDeviceTest } from "./host_interface.ts";
import {
  excludedAddresses,
  networkRouteProblem,
  networkWarnings,
  sameAddresses,
} from "./network_overlap.ts";
import { type Resource, type Route, RTPROT_FLANNEL } from "../state/resource.ts";

export interface ExcludedAddressesOptions {
  readonly families: NetworkConfig["families"];
  readonly read: () => Promise<HostDependencies>;
  /** The subnets that this node has or had. */
  readonly ownSubnets: readonly Prefix[];
  readonly isOverlayDevice: OverlayDeviceTest;
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

  /** Those inside the overlay network. */
  get addresses(): readonly ExcludedAddress[] {
    return this.#addresses;
  }

  /** Reads them again; whether they have changed. */
  async read(external: ExternalInterface): Promise<boolean> {
    this.#dependencies = await this.#options.read();
    return this.#update(external);
  }

  /** Adds subnets of this node, in which a name server is allowed. */
  addOwnSubnets(subnets: readonly Prefix[], external: ExternalInterface): void {
    this.#ownSubnets = [...this.#ownSubnets, ...subnets];
    this.#update(external);
  }

  /** One line for each overlap with the network; see `networkWarnings`. */
  warnings(interfaces: readonly HostInterface[]): string[] {
    return networkWarnings(this.#options.families, {
      interfaces,
      ownSubnets: this.#ownSubnets,
      dependencies: this.#dependencies,
      isOverlayDevice: this.#options.isOverlayDevice,
    });
  }

  /** For a backend with `routesNetwork`; see `networkRouteProblem`. */
  routeProblem(
    interfaces: readonly HostInterface[],
    resources: readonly Resource[],
  ): string | undefined {
    const { families, isOverlayDevice } = this.#options;
    const routes = resources.filter((one): one is Route =>
      one.kind === "route" && one.protocol !== RTPROT_FLANNEL &&
      !(one.link !== undefined && isOverlayDevice(one.link))
    );
    const dependencies = this.#dependencies;
    return networkRouteProblem(families, { interfaces, routes, dependencies });
  }

  #update(external: ExternalInterface): boolean {
    const excluded = excludedAddresses(this.#options.families, {
      external,
      ownSubnets: this.#ownSubnets,
      dependencies: this.#dependencies,
    });
    const hasChanged = !sameAddresses(excluded, this.#addresses);
    this.#addresses = excluded;
    return hasChanged;
  }
}
