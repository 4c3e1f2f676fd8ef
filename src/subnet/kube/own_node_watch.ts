/**
 * Watches this node's Node alone, for the `alloc` backend: its nodes have no entries for others, so
 * they do not read them.
 */

import type { Clock } from "../../base/clock.ts";
import type { KubeApi, KubeNodeMetadata } from "../../kube/kube_api.ts";
import type { Log } from "../../log/log.ts";
import type { LeaseWatch } from "../lease.ts";
import { isKubeError } from "./kube_store_failure.ts";
import { followNodes } from "./node_events.ts";

export interface OwnNodeWatchOptions {
  readonly api: Pick<KubeApi, "node" | "watchNodes">;
  /** The name of this node. */
  readonly own: string;
  /** Called with each state of this node; `undefined` if it does not exist. */
  readonly onOwnNode: (node: KubeNodeMetadata | undefined) => void;
  readonly onRefused: (problem: string | undefined) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** No leases, until the signal aborts. */
export async function* watchOwnNode(
  { api, own, onOwnNode, onRefused, clock, log }: OwnNodeWatchOptions,
  signal: AbortSignal,
): AsyncGenerator<LeaseWatch, undefined> {
  if (signal.aborted) return;
  yield { kind: "snapshot", leases: [], invalid: [], revision: 0n };
  const onEvent = (node: KubeNodeMetadata, state: KubeNodeMetadata | undefined) => {
    if (node.name === own) onOwnNode(state);
  };
  try {
    await followNodes({
      what: "following this node",
      list: async () => {
        const node = await api.node(own, signal).catch((error) => {
          if (isKubeError(error, "not-found")) onOwnNode(undefined);
          throw error;
        });
        onOwnNode(node);
        return node.resourceVersion;
      },
      watch: (resourceVersion, onOpened) =>
        api.watchNodes(resourceVersion, signal, { name: own, onOpened }),
      put: (node) => onEvent(node, node),
      delete: (node) => onEvent(node, undefined),
      count: () => 1,
      onRefused,
      clock,
      log,
    }, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
