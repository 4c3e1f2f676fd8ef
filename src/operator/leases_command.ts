/** `flanneld leases`: see docs/operate.md. */

import { assertNever } from "../base/assert_never.ts";
import type { LeasesAction } from "../cli/leases_arguments.ts";
import type { StoreOptions } from "../cli/store_flags.ts";
import type { LeaseList } from "./lease_list.ts";
import { leaseListJson } from "./lease_list_json.ts";
import { leaseListText } from "./lease_list_text.ts";
import {
  type OperatorContext,
  type OperatorStreams,
  RefusedError,
  runOperator,
} from "./run_operator.ts";
import type { NetworkStore } from "./stored_network.ts";

/** Returns the exit status. */
export function leasesCommand(action: LeasesAction, streams: OperatorStreams): Promise<number> {
  const name = action.kind === "list" ? "flanneld leases" : `flanneld leases ${action.kind}`;
  return runOperator(name, streams, async (context) => {
    await perform(action, context);
    return 0;
  });
}

async function perform(action: LeasesAction, context: OperatorContext): Promise<void> {
  switch (action.kind) {
    case "list":
      return await list(action, context);
    case "reserve": {
      const { reserveSubnet } = await import("./reserve_subnet.ts");
      await using store = await openForChange(action.store, context);
      const lines = await reserveSubnet(store, action, context.signal);
      return await context.streams.out(lines.map((line) => `${line}\n`).join(""));
    }
    case "release": {
      const { releaseLease } = await import("./release_lease.ts");
      await using store = await openForChange(action.store, context);
      const line = await releaseLease(store, action, context.signal);
      return await context.streams.out(`${line}\n`);
    }
    default:
      return assertNever(action);
  }
}

async function list(
  { store, json }: Extract<LeasesAction, { kind: "list" }>,
  context: OperatorContext,
): Promise<void> {
  const leases = await readLeases(store, context);
  for (const note of leases.notes) context.note(note);
  const { streams } = context;
  await streams.out(json ? leaseListJson(leases) : leaseListText(leases, streams.columns));
}

async function readLeases(options: StoreOptions, context: OperatorContext): Promise<LeaseList> {
  if (options.kubeSubnetManager) {
    const { listKubeLeases } = await import("./kube_lease_list.ts");
    return await listKubeLeases(options, context);
  }
  const [{ openNetworkStore }, { listEtcdLeases }] = await Promise.all([
    import("./stored_network.ts"),
    import("./etcd_lease_list.ts"),
  ]);
  await using store = openNetworkStore(options, context);
  return await listEtcdLeases(store, context.signal);
}

async function openForChange(
  options: StoreOptions,
  context: OperatorContext,
): Promise<NetworkStore> {
  if (options.kubeSubnetManager) {
    throw new RefusedError(
      "Kubernetes assigns the subnets: they are the pod CIDRs of its Nodes, which cannot be " +
        "changed; delete the Node, and create it again to get another one",
    );
  }
  const { openNetworkStore } = await import("./stored_network.ts");
  return openNetworkStore(options, context);
}
