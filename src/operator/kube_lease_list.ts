/** The leases in Kubernetes: Nodes, with their pod CIDRs and annotations. */

import { BACKENDS } from "../backend/backend_registry.ts";
import { versionText } from "../cli/version.ts";
import type { StoreOptions } from "../cli/store_flags.ts";
import type { KubeListedNode } from "../kube/kube_api.ts";
import { openKubeClient } from "../kube/open_kube_client.ts";
import { isInvalidLease } from "../subnet/lease_codec.ts";
import { StoreError } from "../subnet/lease_store.ts";
import { NetConfigFile } from "../subnet/kube/net_config_file.ts";
import {
  annotationNames,
  decodeNodeLease,
  isManaged,
  readPodCidrs,
} from "../subnet/kube/node_annotations.ts";
import { ignoredLeases, type LeaseList, readConfig, sortedLeases } from "./lease_list.ts";
import type { OperatorContext } from "./run_operator.ts";

const TIMEOUT_MS = 10_000;

/** Throws `OperatorError`, or the signal's reason. */
export async function listKubeLeases(
  options: StoreOptions,
  context: OperatorContext,
): Promise<LeaseList> {
  const { clock, log } = context;
  const names = annotationNames(options.kubeAnnotationPrefix);
  await using api = await openKubeClient({
    kubeconfigFile: options.kubeconfigFile,
    apiUrl: options.kubeApiUrl,
    environment: context.streams.environment,
    version: versionText(),
    clock,
    log,
  });
  const { config, problem } = await readConfigFile(options, context);
  const nodes = await withDeadline(api.description, context.signal, async (signal) => {
    const found: KubeListedNode[] = [];
    for await (const page of api.listNodes(signal)) found.push(...page.nodes);
    return found.filter((node) => isManaged(node, names));
  });
  const format = config && BACKENDS.forNetwork(config).annotations || {};
  const decoded = nodes.map((node) => {
    const subnets = subnetsOf(node);
    const families = config?.families ?? subnets;
    const lease = decodeNodeLease(node, node.podCidrs, { names, families, format });
    return { node, subnets, lease };
  });
  const ignored = config && ignoredLeases(decoded.map(({ lease }) => lease), config, "kubernetes");
  const leases = decoded.map(({ node, subnets, lease }) => ({
    key: lease.key,
    subnets,
    publicAddresses: isInvalidLease(lease) ? {} : lease.attributes.publicAddresses,
    backend: isInvalidLease(lease) ? undefined : lease.attributes.backendType,
    kind: "node" as const,
    remainingSeconds: undefined,
    host: node.name,
    alive: undefined,
    ignored: isInvalidLease(lease) ? lease.reason : ignored?.get(lease.key),
  }));
  return {
    store: api.description,
    leases: sortedLeases(leases),
    notes: problem === undefined ? [] : [`the leases are not checked: ${problem}`],
  };
}

function subnetsOf({ podCidrs }: KubeListedNode) {
  const subnets = readPodCidrs(podCidrs);
  return typeof subnets === "string" ? {} : subnets;
}

/** The file is on the nodes, in the daemon's pods; it may be missing where the operator is. */
async function readConfigFile({ netConfigPath: path }: StoreOptions, context: OperatorContext) {
  try {
    const file = new NetConfigFile({ path, clock: context.clock, log: context.log });
    return readConfig(await file.networkConfig(), { source: path, allocation: "kubernetes" });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return { config: undefined, problem: error.message };
  }
}

/** Throws `StoreError` if the calls take too long altogether. */
async function withDeadline<T>(
  server: string,
  stop: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  try {
    return await work(AbortSignal.any([stop, deadline]));
  } catch (cause) {
    stop.throwIfAborted();
    if (!deadline.aborted) throw cause;
    throw new StoreError(
      `${server} has not answered within ${TIMEOUT_MS / 1000} s; check its address and that it ` +
        "can be reached from this host",
      { cause },
    );
  }
}
