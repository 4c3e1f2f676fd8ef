/** Decides what to do about an entry, given its ownership and the device that it rests on. */

import { isOurs, mayAdopt, type Ownership, owns } from "../state/ownership.ts";
import { decide, type Decision } from "../state/plan.ts";
import { linkKey } from "../state/resource_key.ts";
import { kindOf, type Link, type Resource } from "../state/resource.ts";
import type { EntryTable, TrackedEntry } from "./entry_table.ts";
import type { ExternalLink } from "./external_link.ts";
import type { ResyncQueue } from "./resync_queue.ts";

export interface EntryPlannerOptions {
  readonly table: EntryTable;
  readonly external: ExternalLink;
  readonly resync: ResyncQueue;
}

export class EntryPlanner {
  readonly #table: EntryTable;
  readonly #external: ExternalLink;
  readonly #resync: ResyncQueue;
  /** Which entries are this daemon's. */
  ownership: Ownership = NO_OWNERSHIP;
  /** Whether every desired entry is known, so that our other entries may be deleted. */
  isDesiredComplete = false;

  constructor({ table, external, resync }: EntryPlannerOptions) {
    this.#table = table;
    this.#external = external;
    this.#resync = resync;
  }

  /** Whether an entry of the kernel is ours by its own fields. */
  isOurs(resource: Resource): boolean {
    return isOurs(resource, this.ownership);
  }

  decide(entry: TrackedEntry): Decision {
    const { desired, actual } = entry;
    return decide({
      desired,
      actual,
      isOurs: actual !== undefined &&
        (entry.isOurChange || owns(actual, this.ownership, (name) => this.#linkNamed(name))),
      isAdoptable: actual !== undefined && mayAdopt(actual, this.ownership),
      maySweep: this.isDesiredComplete && this.#resync.isVerified,
    });
  }

  /** Name of the device that the entry must wait for. `usable` caches results within a batch. */
  blockerOf(desired: Resource, usable: Map<string, boolean>): string | undefined {
    if (desired.kind === "link") {
      const { name, link } = this.#external;
      const restsOnExternal = desired.type === "vxlan" && desired.underlay === name;
      return restsOnExternal && link === undefined ? name : undefined;
    }
    const { linkOf, needsLinkUp } = kindOf(desired);
    const name = linkOf(desired);
    if (name === undefined) return undefined;
    if (!needsLinkUp) return this.#isUsable(name, { evenIfDown: true }) ? undefined : name;
    let isUsable = usable.get(name);
    if (isUsable === undefined) {
      isUsable = this.#isUsable(name, { evenIfDown: false });
      usable.set(name, isUsable);
    }
    return isUsable ? undefined : name;
  }

  #isUsable(name: string, { evenIfDown }: { readonly evenIfDown: boolean }): boolean {
    if (name === this.#external.name) return this.#external.link?.up ?? false;
    const link = this.#table.get(linkKey(name));
    if (link?.desired === undefined) return true;
    return link.actual?.kind === "link" && (link.actual.up || evenIfDown) &&
      this.ownership.linkTypes.has(link.actual.type);
  }

  #linkNamed(name: string): Link | undefined {
    const actual = this.#table.get(linkKey(name))?.actual;
    return actual?.kind === "link" ? actual : undefined;
  }
}

const NO_OWNERSHIP: Ownership = {
  links: new Set(),
  linkTypes: new Set(),
  networks: [],
  routeLink: undefined,
};
