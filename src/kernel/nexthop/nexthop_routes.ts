/** Decides which routes of one batch run use a nexthop object, and creates the objects. */

import { familyOf } from "../../addr/ip.ts";
import type { Route } from "../../state/resource.ts";
import { linkOf } from "../../state/resource_key.ts";
import type { Step } from "../../state/step.ts";
import { readSysctlNow } from "../sysctl/proc_sys.ts";
import { operationOf } from "../table/entry_operation.ts";
import { nexthopIdFor, type Nexthops } from "./nexthops.ts";

/**
 * This many new routes on one device, or more, use nexthop objects. Fewer take only a few
 * milliseconds without, and `ip route` shows them in the usual form.
 */
const NEXTHOPS_FROM_ROUTES = 500;

export class NexthopRoutes {
  readonly #nexthops: Nexthops;
  /** Devices on which this run creates many routes. */
  readonly #links: ReadonlySet<string>;
  /** Ids of the objects that the current steps need, by device. */
  #wanted = new Map<string, number[]>();
  /** Ids of the objects that exist, by device. */
  readonly #usable = new Map<string, ReadonlySet<number>>();

  constructor(nexthops: Nexthops, steps: readonly Step[]) {
    this.#nexthops = nexthops;
    this.#links = linksOfMany(steps);
  }

  /** Announces the next steps. Their objects are created together, when the first one is needed. */
  begin(steps: readonly Step[]): void {
    this.#usable.clear();
    this.#wanted = this.#links.size > 0 ? nexthopIdsByLink(steps) : new Map();
  }

  /** The id of the existing object that a step's route uses; 0 if the route uses none. */
  idFor(step: Step, route: Route, ifindex: number): number {
    const id = nexthopIdFor(route);
    const operation = operationOf(step);
    if (operation === "delete") {
      if (id === 0 || !this.#nexthops.exists(id, ifindex)) return 0;
      this.#nexthops.noteRemoval();
      return id;
    }
    if (id !== 0 && this.#usableOn(linkOf(route) ?? "", ifindex).has(id)) return id;
    if (operation === "set" && familyOf(route.destination) === 4) this.#nexthops.noteRemoval();
    return 0;
  }

  /** The device is created, changed or deleted, which may delete its objects. */
  forget(link: string): void {
    this.#usable.delete(link);
  }

  #usableOn(link: string, ifindex: number): ReadonlySet<number> {
    if (!this.#links.has(link) || !this.#nexthops.isSupported) return NONE;
    let usable = this.#usable.get(link);
    if (usable === undefined) {
      usable = this.#nexthops.create(this.#wanted.get(link) ?? [], ifindex);
      this.#usable.set(link, usable);
    }
    return usable;
  }
}

const NONE: ReadonlySet<number> = new Set();

function linksOfMany(steps: readonly Step[]): ReadonlySet<string> {
  if (steps.length < NEXTHOPS_FROM_ROUTES) return new Set();
  const links = new Set<string>();
  for (const [link, ids] of nexthopIdsByLink(steps)) {
    if (ids.length >= NEXTHOPS_FROM_ROUTES) links.add(link);
  }
  // If this is 0, the kernel does not show the gateways of such routes.
  if (links.size > 0 && readSysctlNow("net/ipv4/nexthop_compat_mode") === "0") return new Set();
  return links;
}

/** Ids of the objects that the routes of these steps could use, one for each route. */
function nexthopIdsByLink(steps: readonly Step[]): Map<string, number[]> {
  const ids = new Map<string, number[]>();
  for (const { op, resource } of steps) {
    if (op !== "set" || resource.kind !== "route") continue;
    const id = nexthopIdFor(resource);
    if (id === 0) continue;
    const link = linkOf(resource) ?? "";
    const known = ids.get(link);
    if (known === undefined) ids.set(link, [id]);
    else known.push(id);
  }
  return ids;
}
