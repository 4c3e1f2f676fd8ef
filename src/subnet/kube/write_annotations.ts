import type { KubeApi, KubeNode, KubeNodeMetadata } from "../../kube/kube_api.ts";
import type { Log } from "../../log/log.ts";
import { differingAnnotations, nodeLeaseKey } from "./node_annotations.ts";

/**
 * Writes those of the annotations that the Node does not have, unless another Node has its name by
 * now. Returns the Node afterwards; without a difference, that is the given one. Throws
 * `KubeError`.
 */
export async function writeAnnotations(
  { api, log, node, wanted }: {
    readonly api: Pick<KubeApi, "patchNodeStatus">;
    readonly log: Log;
    readonly node: KubeNode;
    readonly wanted: KubeNodeMetadata["annotations"];
  },
  signal: AbortSignal,
): Promise<KubeNode> {
  const annotations = differingAnnotations(wanted, node.annotations);
  if (Object.keys(annotations).length === 0) return node;
  const patch = { metadata: { uid: node.uid, annotations } };
  const written = await api.patchNodeStatus(node.name, patch, signal);
  log.trace({ event: "put", lease: nodeLeaseKey(node.name) }, "lease written to Kubernetes");
  return written;
}
