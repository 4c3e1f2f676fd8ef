/**
 * alloc: assigns the node a subnet and changes nothing in the kernel.
 *
 * Something outside of flanneld, such as a cloud's routing table, decides the hops of a packet.
 */

import type { NetworkConfig } from "../../config/network_config.ts";
import { readOptions } from "../../config/option_schema.ts";
import type { Log } from "../../log/log.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { BackendModule } from "../../overlay/backend.ts";
import { devicelessOwnership } from "../../overlay/deviceless_ownership.ts";
import { ALLOC } from "./alloc_descriptor.ts";

export const OPTIONS = {};

const alloc: BackendModule = {
  checkConfig,
  options: OPTIONS,
  mtuBytes: (_config, external) => external.mtuBytes,
  prepare(host) {
    const { families } = host.config;
    checkConfig(host.config, host.log);
    return Promise.resolve({
      type: ALLOC.type,
      attributes: {
        publicAddresses: advertisedAddresses(host),
        backendType: "",
        backendData: {},
      },
      needsReachability: false,
      isDirect: true,
      ownership: () => devicelessOwnership(families),
      mtuBytes: (external) => external.mtuBytes,
      node: () => [],
      peer: () => [],
    });
  },
};

export default alloc;

function checkConfig({ backend }: NetworkConfig, log: Pick<Log, "warn">): void {
  readOptions(backend.options, OPTIONS, log);
}
