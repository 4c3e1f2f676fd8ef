/** `flanneld leases`: see docs/operate.md. */

import type { LeasesAction } from "../cli/leases_arguments.ts";
import type { StoreOptions } from "../cli/store_flags.ts";
import type { LeaseList } from "./lease_list.ts";
import { leaseListJson } from "./lease_list_json.ts";
import { leaseListText } from "./lease_list_text.ts";
import { type OperatorContext, type OperatorStreams, runOperator } from "./run_operator.ts";

/** Returns the exit status. */
export function leasesCommand(action: LeasesAction, streams: OperatorStreams): Promise<number> {
  return runOperator("flanneld leases", streams, async (context) => {
    const list = await readLeases(action.store, context);
    for (const note of list.notes) context.note(note);
    const text = action.json ? leaseListJson(list) : leaseListText(list, streams.columns);
    await streams.out(text);
    return 0;
  });
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
