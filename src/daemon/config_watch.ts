/** Reports changes of the network configuration, which a running node does not apply. */

import { BACKENDS } from "../backend/backend_registry.ts";
import { errorMessage } from "../base/operator_error.ts";
import { type NetworkConfigOptions, parseNetworkConfig } from "../config/network_config.ts";
import type { Log } from "../log/log.ts";
import type { LeaseStore } from "../subnet/lease_store.ts";

export interface ConfigWatchOptions {
  readonly store: Pick<LeaseStore, "allocation" | "watchNetworkConfig">;
  /** Where the configuration is, for messages. */
  readonly source: string;
  readonly log: Log;
}

/**
 * Until `stop` aborts. The node keeps its network: a new one would take the workloads' addresses.
 */
export async function watchConfig(
  { store, source, log }: ConfigWatchOptions,
  stop: AbortSignal,
): Promise<void> {
  for await (const text of store.watchNetworkConfig(stop)) {
    log.warn(
      text === undefined
        ? deletedText(source)
        : await changedText(text, { source, allocation: store.allocation }),
    );
  }
}

function deletedText(source: string): string {
  return `the network configuration at ${source} was deleted; keeping the current configuration`;
}

/** Runs the checks of the next start: a restart is recommended only if it can succeed. */
async function changedText(
  text: string,
  options: Pick<NetworkConfigOptions, "source" | "allocation">,
): Promise<string> {
  try {
    const warn = () => undefined;
    await BACKENDS.checkConfig(parseNetworkConfig(text, { ...options, warn }), { warn });
    return "the network configuration changed; restart flanneld to apply it";
  } catch (error) {
    // Of any kind: no text in the store may end a running node.
    return "the network configuration changed and is invalid, keeping the current configuration: " +
      `${errorMessage(error)}; do not restart flanneld before it is corrected`;
  }
}
