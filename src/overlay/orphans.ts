/**
 * State of the previous backend on this host, after the configuration has changed to another one.
 *
 * Its routes are removed with our own stale ones, since they carry RTPROT_FLANNEL within our
 * network. Its IPsec policies are ours for the same reason (`XFRM_REQID`, within our network) and
 * are removed here: without a charon that agrees on keys, they would drop every packet between
 * nodes. Its devices stay, since a second daemon may own one; those within our network are logged.
 */

import { hostPrefix, type Prefix, prefixContains } from "../addr/prefix.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "../log/log.ts";
import { charonPidFileHolder } from "../process/charon_pid_file.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { isOurs, type Ownership } from "../state/ownership.ts";
import {
  type Link,
  type Resource,
  type Route,
  RT_TABLE_MAIN,
  RTPROT_KERNEL,
  type XfrmPolicy,
} from "../state/resource.ts";

export interface OrphanContext {
  readonly kernel: Kernel;
  readonly ownership: Ownership;
  /** Whether a backend of any type creates devices of this name. */
  readonly isBackendDevice: (name: string) => boolean;
  readonly log: Log;
}

/**
 * Called once after the first complete sweep, when all desired entries are in place. Never throws.
 */
export async function removeOrphans(context: OrphanContext): Promise<void> {
  try {
    await removePolicies(context);
    await reportDevices(context);
  } catch (error) {
    context.log.warn(`cannot look for the previous backend's state: ${errorMessage(error)}`);
  }
}

async function removePolicies({ kernel, ownership, log }: OrphanContext): Promise<void> {
  if (ownership.extraKinds?.includes("xfrm-policy")) return; // The reconciler manages them.
  const found = (await kernel.dump(["xfrm-policy"])).filter(
    (entry): entry is XfrmPolicy => entry.kind === "xfrm-policy" && isOurs(entry, ownership),
  );
  if (found.length === 0) return;
  const results = await kernel.apply(found.map((resource) => ({ op: "delete", resource })));
  const failed = results.findIndex((error) => error !== undefined);
  if (failed < 0) {
    log.info(
      `removed ${found.length} IPsec policies of a previous run with the ipsec backend` +
        aboutCharon(),
    );
    return;
  }
  const { direction, source, destination } = found[failed] as XfrmPolicy;
  log.error(
    "cannot remove an IPsec policy of a previous run with the ipsec backend; it drops packets: " +
      `${results[failed]?.message}; run "ip xfrm policy delete src ${source} dst ${destination} ` +
      `dir ${direction}"`,
  );
}

/** charon outlives the daemon; without policies it is harmless. */
function aboutCharon(): string {
  const holder = charonPidFileHolder();
  return holder?.isCharon
    ? `; charon is still running: unless something else uses it, stop it with "kill ${holder.pid}"`
    : "";
}

/** How many routes of a device a message lists. */
const MAX_NAMED = 3;

async function reportDevices(
  { kernel, ownership, isBackendDevice, log }: OrphanContext,
): Promise<void> {
  const links = (await kernel.dump(["link"])).filter((entry): entry is Link =>
    entry.kind === "link" && isBackendDevice(entry.name) && !ownership.links.has(entry.name)
  );
  if (links.length === 0) return;
  const entries = await kernel.dump(["address", "route"], new Set(links.map(({ name }) => name)));
  const inNetwork = entries.filter((entry) => liesWithin(entry, ownership.networks));
  for (const link of links) {
    const own = inNetwork.filter((entry) => "link" in entry && entry.link === link.name);
    if (own.length > 0) log.warn(describe(link, own));
  }
}

/** Routes of the kernel do not count: they come with the addresses. */
function liesWithin(entry: Resource, networks: readonly Prefix[]): boolean {
  const prefix = entry.kind === "address"
    ? hostPrefix(entry.address)
    : entry.kind === "route" && entry.table === RT_TABLE_MAIN && entry.protocol !== RTPROT_KERNEL
    ? entry.destination
    : undefined;
  return prefix !== undefined && networks.some((network) => prefixContains(network, prefix));
}

function describe(link: Link, entries: readonly Resource[]): string {
  const routes = entries.filter((entry): entry is Route => entry.kind === "route")
    .map(({ destination }) => destination);
  const more = routes.length > MAX_NAMED ? ` and ${routes.length - MAX_NAMED} more` : "";
  const harm = routes.length === 0
    ? "it still receives packets"
    : `its routes (${routes.slice(0, MAX_NAMED).join(", ")}${more}) divert packets`;
  const port = link.type === "ipip" && link.fouPort !== undefined
    ? `; ip fou del port ${link.fouPort} ipproto 4`
    : "";
  return `device ${link.name} of the previous backend is still in this network: ${harm}; ` +
    `run "ip link delete ${link.name}${port}"`;
}
