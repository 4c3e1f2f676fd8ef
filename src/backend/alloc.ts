/**
 * alloc: a subnet for the node, and nothing in the kernel. How a packet travels between nodes is
 * somebody else's business, such as a cloud's routing table.
 */

import type { NetworkConfig } from "../config/network_config.ts";
import { readOptions } from "../config/options.ts";
import type { Log } from "../log/log.ts";
import { advertisedAddresses } from "./advertised.ts";
import type { BackendModule } from "./backend.ts";
import { devicelessOwnership } from "./deviceless.ts";

export const OPTIONS = {};

const alloc: BackendModule = {
  type: "alloc",
  checkConfig,
  prepare(host) {
    const { families } = host.config;
    checkConfig(host.config, host.log);
    return Promise.resolve({
      type: "alloc",
      attributes: {
        publicAddresses: advertisedAddresses(host),
        backendType: "",
        backendData: {},
      },
      needsPeerFacts: false,
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
