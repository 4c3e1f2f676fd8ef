/** Whether the node with a public address is alive, as the kubelet reports it. */

import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import type { IpAddress } from "../../addr/ip.ts";
import type { KubeApi } from "../../kube/kube_api.ts";
import { KubeError } from "../../kube/kube_error.ts";
import type { Log } from "../../log/log.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import { isKubeError } from "./kube_store_failure.ts";
import type { NodeRecords } from "./node_records.ts";

export interface NodeLivenessOptions {
  readonly api: Pick<KubeApi, "node">;
  readonly records: Pick<NodeRecords, "withAddress">;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The condition Ready of the node, read every ten seconds: yields it at once, and at each change.
 * Ends without a value if this node may not read nodes. Kubernetes itself waits 40 s for a silent
 * kubelet.
 */
export async function* watchNodeAlive(
  address: IpAddress,
  { api, records, clock, log }: NodeLivenessOptions,
  signal: AbortSignal,
): AsyncGenerator<boolean> {
  const what = `reading whether the node with public address ${address} is ready`;
  const failure = new RepeatedFailure({ what, log, clock });
  let last: boolean | undefined;
  while (!signal.aborted) {
    try {
      const isAlive = await isAnyReady(records.withAddress(address), api, signal);
      failure.succeeded();
      if (isAlive !== last) yield last = isAlive;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof KubeError)) throw error;
      if (isKubeError(error, "forbidden") && last === undefined) return;
      failure.failed(error);
    }
    // At another time on each node.
    await sleep(clock, backoffMs(1, PERIOD, clock), signal);
  }
}

async function isAnyReady(
  names: readonly string[],
  api: Pick<KubeApi, "node">,
  signal: AbortSignal,
): Promise<boolean> {
  for (const name of names.slice(0, MAX_NODES)) {
    try {
      const { conditions } = await api.node(name, signal);
      if (conditions.some(({ type, status }) => type === "Ready" && status === "True")) return true;
    } catch (error) {
      if (!isKubeError(error, "not-found")) throw error;
    }
  }
  return false;
}

const PERIOD = { firstMs: 12_000, maxMs: 12_000 };
/** Usually one node has an address. */
const MAX_NODES = 8;
