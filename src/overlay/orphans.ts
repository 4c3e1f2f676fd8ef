/**
 * What another backend has left on this host, when the configuration names a new one.
 *
 * Its routes go with the stale ones of ours, for they carry RTPROT_FLANNEL inside our network. Its
 * IPsec policies are ours by the same right (`XFRM_REQID`, inside our network) and are removed: with
 * no charon to agree on keys, they would drop every packet between nodes. Its devices stay, since a
 * second daemon may own one, and are named in the log when they are in our network.
 */

import { addressBits, familyOf } from "../addr/ip.ts";
import { makePrefix, type Prefix, prefixContains } from "../addr/prefix.ts";
import type { Log } from "../log/log.ts";
import { charonPidFileHolder } from "../process/charon_pid_file.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { isOurs, type Ownership } from "../state/ownership.ts";
import {
  type Link,
  type Resource,
  type Route,
  RT_TABLE_MAIN,
  type XfrmPolicy,
} from "../state/resource.ts";

export interface OrphanContext {
  readonly kernel: Kernel;
  readonly ownership: Ownership;
  /** Whether a backend of any type creates devices of this name. */
  readonly isBackendDevice: (name: string) => boolean;
  readonly log: Log;
}

/** Once, after the first complete sweep: what is there then is nobody's wish. Throws nothing. */
export async function removeOrphans(context: OrphanContext): Promise<void> {
  try {
    await removePolicies(context);
    await reportDevices(context);
  } catch (error) {
    context.log.warn(
      `cannot look for what another backend has left behind: ${(error as Error).message}`,
    );
  }
}

async function removePolicies({ kernel, ownership, log }: OrphanContext): Promise<void> {
  if (ownership.extraKinds?.includes("xfrm-policy")) return; // Its own, kept by the reconciler.
  const found = (await kernel.dump(["xfrm-policy"])).filter(
    (entry): entry is XfrmPolicy => entry.kind === "xfrm-policy" && isOurs(entry, ownership),
  );
  if (found.length === 0) return;
  const results = await kernel.apply(found.map((resource) => ({ op: "delete", resource })));
  const failed = results.findIndex((error) => error !== undefined);
  if (failed < 0) {
    log.info(
      `removed ${found.length} IPsec policies of a former run with the ipsec backend${aboutCharon()}`,
    );
    return;
  }
  const { direction, source, destination } = found[failed] as XfrmPolicy;
  log.error(
    "an IPsec policy of a former run with the ipsec backend drops packets and cannot be removed " +
      `(${results[failed]?.message}); remove it with ` +
      `"ip xfrm policy delete src ${source} dst ${destination} dir ${direction}"`,
  );
}

/** charon outlives its daemon, and does no harm without policies. */
function aboutCharon(): string {
  const holder = charonPidFileHolder();
  return holder?.isCharon
    ? `; charon still runs: unless something else needs it, end it with "kill ${holder.pid}"`
    : "";
}

/** Of the routes that come with an IPv6 address; linux/rtnetlink.h. */
const RTPROT_KERNEL = 2;
/** Routes of a device that a message names. */
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

function liesWithin(entry: Resource, networks: readonly Prefix[]): boolean {
  const prefix = entry.kind === "address"
    ? makePrefix(entry.address, addressBits(familyOf(entry.address)))
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
    ? "it still receives packets and is not used otherwise"
    : `its routes (${
      routes.slice(0, MAX_NAMED).join(", ")
    }${more}) take packets that are not for it`;
  const port = link.type === "ipip" && link.fouPort !== undefined
    ? `; ip fou del port ${link.fouPort} ipproto 4`
    : "";
  return `the device ${link.name} of another backend is left in this network: ${harm}; ` +
    `delete it with "ip link delete ${link.name}${port}"`;
}
