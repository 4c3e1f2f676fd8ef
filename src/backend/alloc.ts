/**
 * alloc: a subnet for the node, and nothing in the kernel. How a packet travels between nodes is
 * somebody else's business, such as a cloud's routing table.
 */

import { familiesOf } from "../addr/family.ts";
import type { FamilyNetwork } from "../config/network_config.ts";
import { readOptions } from "../config/options.ts";
import { advertisedAddresses } from "./advertised.ts";
import type { BackendModule } from "./backend.ts";

export const OPTIONS = {};

const alloc: BackendModule = {
  type: "alloc",
  prepare(host) {
    const { families, backend } = host.config;
    readOptions(backend.options, OPTIONS, host.log);
    return Promise.resolve({
      type: "alloc",
      attributes: {
        publicAddresses: advertisedAddresses(host),
        backendType: "",
        backendData: {},
      },
      needsPeerFacts: false,
      // The networks still matter: `--ip-blackhole-route` makes routes in them.
      ownership: () => ({
        links: new Set(),
        linkTypes: new Set(),
        networks: familiesOf(families).map((family) => (families[family] as FamilyNetwork).network),
        routeLink: undefined,
      }),
      mtuBytes: (external) => external.mtuBytes,
      node: () => [],
      peer: () => [],
    });
  },
};

export default alloc;
