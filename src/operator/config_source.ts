/** The network configuration of the store: the text, and where it is. */

import type { Clock } from "../base/clock.ts";
import type { StoreOptions } from "../cli/store_flags.ts";
import type { SubnetAllocation } from "../config/network_config.ts";
import type { Log } from "../log/log.ts";
import { NetConfigFile } from "../subnet/kube/net_config_file.ts";
import { configSource, openNetworkStore, readStoredNetwork } from "./stored_network.ts";
import type { StoredNetwork } from "./stored_network.ts";

export interface FoundConfig {
  /** `undefined` if there is none. */
  readonly text: string | undefined;
  /** For messages: a key or a path. */
  readonly source: string;
  readonly allocation: SubnetAllocation;
  /** `undefined` with Kubernetes, where the configuration is a file. */
  readonly network: StoredNetwork | undefined;
}

/** Throws `OperatorError`, or the signal's reason. */
export async function findConfig(
  options: StoreOptions,
  { clock, log, signal }: {
    readonly clock: Clock;
    readonly log: Log;
    readonly signal: AbortSignal;
  },
): Promise<FoundConfig> {
  if (options.kubeSubnetManager) {
    const source = options.netConfigPath;
    const text = await new NetConfigFile({ path: source, clock, log }).networkConfig();
    return { text, source, allocation: "kubernetes", network: undefined };
  }
  await using store = openNetworkStore(options, { clock, log });
  const network = await readStoredNetwork(store, signal);
  const source = configSource(store);
  return { text: network.config?.value, source, allocation: "flanneld", network };
}
