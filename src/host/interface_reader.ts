/** Reads this host's interfaces and default routes from the kernel. */

import * as k from "../../ffi/linux.ts";
import type { PerFamily } from "../addr/family.ts";
import { FAMILIES, type Family, familyOf, type IpAddress } from "../addr/ip.ts";
import { prefixAddress, prefixLength } from "../addr/prefix.ts";
import type { Clock } from "../base/clock.ts";
import { readHostDevices } from "../kernel/host_devices.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Resource, Route } from "../state/resource.ts";
import type { HostInterface } from "./host_interface.ts";
import type { SelectionInput } from "./interface_selection.ts";

export interface InterfaceReader {
  readonly kernel: Pick<Kernel, "dump" | "routeTo">;
  readonly readInterfaces: () => Promise<readonly HostInterface[]>;
}

/**
 * Interfaces, default routes, and the route to `canReach` where that is set. Throws `KernelError`.
 */
export async function readSelectionInput(
  { kernel, readInterfaces, canReach }: InterfaceReader & {
    /** `--iface-can-reach` */
    readonly canReach?: IpAddress | undefined;
  },
): Promise<SelectionInput> {
  const interfaces = await readInterfaces();
  const defaultRoutes = await readDefaultRoutes(kernel);
  if (canReach === undefined) return { interfaces, defaultRoutes };
  const { link, source, local } = await kernel.routeTo(canReach);
  // The route to an address of this host is through lo, which names no interface to other hosts.
  if (link === undefined || local) return { interfaces, defaultRoutes };
  const routeToTarget = source === undefined ? { link } : { link, source };
  return { interfaces, defaultRoutes, routeToTarget };
}

/**
 * Interfaces with their addresses, at a cost that does not grow with the routes. Throws
 * `KernelError`.
 */
export async function readInterfaces(clock: Clock): Promise<HostInterface[]> {
  const devices = await readHostDevices(clock);
  return devices.map(({ name, altNames, ifindex, mtuBytes, up, addresses }) => ({
    name,
    ...(altNames.length === 0 ? {} : { altNames }),
    ifindex,
    mtuBytes,
    isUp: up,
    addresses: addresses.map(({ address, prefixLength, label, flags }) => ({
      address,
      prefixLength,
      ...(label === undefined ? {} : { label }),
      isPermanent: (flags & k.IFA_F_PERMANENT) !== 0,
      isTemporary: (flags & k.IFA_F_TEMPORARY) !== 0,
      isDeprecated: (flags & k.IFA_F_DEPRECATED) !== 0,
    })),
  }));
}

async function readDefaultRoutes(
  kernel: Pick<Kernel, "dump" | "routeTo">,
): Promise<PerFamily<string>> {
  const routes = await kernel.dump(["route"]);
  const result: { 4?: string; 6?: string } = {};
  for (const family of FAMILIES) {
    const best = routes.filter((route): route is Route => isDefaultRoute(route, family))
      .toSorted((a, b) => a.metric - b.metric)[0];
    if (best === undefined) continue;
    // A route with several next hops has no device of its own: ask which one a packet would take.
    const link = best.link ?? (await kernel.routeTo(DOCUMENTATION_ADDRESSES[family])).link;
    if (link !== undefined) result[family] = link;
  }
  return result;
}

function isDefaultRoute(resource: Resource, family: Family): boolean {
  return resource.kind === "route" && resource.type === "unicast" &&
    prefixLength(resource.destination) === 0 &&
    familyOf(prefixAddress(resource.destination)) === family;
}

/** Addresses for documentation (RFC 5737, RFC 3849), to which only a default route leads. */
export const DOCUMENTATION_ADDRESSES = {
  4: "203.0.113.1" as IpAddress,
  6: "2001:db8::1" as IpAddress,
} as const;
