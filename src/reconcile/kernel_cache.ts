/**
 * What the kernel holds, entry by entry, as learned from dumps, from the reconciler's own steps
 * and from notifications. Each entry that is found to be out of sync goes to the work list.
 *
 * Some changes cause no notification and need a dump: the kernel silently flushes the IPv4 routes
 * of a device that goes down, and all entries on a device that is deleted
 * (net/ipv4/fib_frontend.c).
 */

import { familyOf } from "../addr/ip.ts";
import type { KernelEvent } from "../kernel/kernel.ts";
import { deviceOf, linkKey, linkOf, resourceKey } from "../state/resource_key.ts";
import {
  type Address,
  kindOf,
  type Link,
  type Resource,
  type ResourceKey,
} from "../state/resource.ts";
import { equalResources, sameResource } from "../state/same_resource.ts";
import type { Step } from "../state/step.ts";
import type { Clock } from "../base/clock.ts";
import { type EntryChange, OwnChanges } from "./own_changes.ts";
import type { EntryTable, TrackedEntry } from "./entry_table.ts";
import type { ExternalLink } from "./external_link.ts";
import type { EntryPlanner } from "./entry_planner.ts";
import type { ResyncQueue } from "./resync_queue.ts";
import type { Failures } from "./failures.ts";
import type { WorkList } from "./work_list.ts";

export interface KernelCacheOptions {
  readonly clock: Clock;
  readonly table: EntryTable;
  readonly planner: EntryPlanner;
  readonly external: ExternalLink;
  readonly work: WorkList;
  readonly resync: ResyncQueue;
  readonly failures: Failures;
}

/** Whether a change is known to be this program's own. */
type Origin = "own" | "foreign";

export class KernelCache {
  readonly #table: EntryTable;
  readonly #planner: EntryPlanner;
  readonly #external: ExternalLink;
  readonly #work: WorkList;
  readonly #resync: ResyncQueue;
  readonly #failures: Failures;
  readonly #ownChanges: OwnChanges;
  /** Devices that are being created and whose notification has not arrived yet. */
  readonly #creating = new Set<string>();
  /** Foreign changes to entries that have a step in flight: the entry after each of them. */
  #foreignChanges: Map<ResourceKey, Resource | undefined> | undefined;
  /** Keys of notifications that arrived during a dump: they are newer than the dump. */
  #notifiedKeys: Set<ResourceKey> | undefined;

  constructor(options: KernelCacheOptions) {
    this.#table = options.table;
    this.#planner = options.planner;
    this.#external = options.external;
    this.#work = options.work;
    this.#resync = options.resync;
    this.#failures = options.failures;
    this.#ownChanges = new OwnChanges(options.clock);
  }

  // ---- Notifications

  receive(event: KernelEvent): void {
    if (event.kind === "overrun") {
      this.#notifiedKeys = undefined;
      this.#resync.requestAllNow();
      return;
    }
    const { resource, deleted } = event;
    this.#receiveExternal(event);
    this.#checkConflictsOn(event);
    const key = resourceKey(resource);
    const isIrrelevant = deleted || !this.#planner.isOurs(resource);
    if (isIrrelevant && !this.#table.mayHave(key)) return;
    const value = deleted ? undefined : resource;
    this.#notifiedKeys?.add(key);
    const origin = this.#ownChanges.classify(key, event);
    if (origin === "earlier") return;
    if (origin !== "foreign") this.#foreignChanges?.delete(key);
    // The kernel has already acknowledged our last change: the common case.
    if (origin === "last" && !deleted && this.#table.mayBeSettled(key)) return;
    // At the start of a large network, notifications of our changes arrive seconds after them.
    if (origin === "foreign" && !deleted && this.#table.isSettledAs(key, resource)) return;
    if (isIrrelevant && this.#table.get(key) === undefined) return;
    const entry = this.#table.at(key);
    if (origin === "foreign") this.#foreignChanges?.set(key, value);
    if (origin === "foreign" && resource.kind === "link") this.#checkEntriesOn(resource, event);
    this.observe(entry, value, origin === "foreign" ? "foreign" : "own");
    // A program that keeps adding entries to our device is damped like one that keeps removing
    // ours.
    if (origin === "foreign" && value !== undefined && entry.desired === undefined) {
      entry.hasDrifted = true;
    }
  }

  #receiveExternal({ resource, deleted }: EntryChange): void {
    const { name } = this.#external;
    if (resource.kind === "link" && resource.name === name) {
      this.#external.observe(deleted ? undefined : resource);
    }
    if (resource.kind === "address" && resource.link === name) {
      if (deleted) this.#onAddressRemoved(resource);
      this.#external.observeAddress({ resource, deleted });
    }
  }

  /**
   * A conflict ends when the other program's entry is gone. If that is an IPv4 route, the kernel
   * may have deleted it together with its device, or with an address, without a notification.
   */
  #checkConflictsOn({ resource, deleted }: EntryChange): void {
    const mayEnd = resource.kind === "link" ? deleted || !resource.up : deleted;
    const device = deviceOf(resource);
    if (!mayEnd || device === undefined) return;
    for (const { failure, actual } of this.#failures.entries()) {
      if (failure?.kind !== "conflict" || actual === undefined) continue;
      if (!mayRestOn(actual, resource, device)) continue;
      this.#resync.request(device);
      return;
    }
  }

  /**
   * A dump may have shown already that the device was deleted or went down. Notifications
   * from before that may have arrived since; what they say about the device's entries is outdated.
   */
  #checkEntriesOn(link: Link, { deleted }: { readonly deleted: boolean }): void {
    if (deleted) this.#forgetEntriesOn(link.name);
    else if (!link.up && !this.#creating.has(link.name)) this.#resync.request(link.name);
  }

  // ---- Our own steps

  /** These steps are about to be sent. */
  beginSteps(steps: ReadonlyMap<Step, ResourceKey>): void {
    this.#ownChanges.expect(steps);
    for (const { op, resource } of steps.keys()) {
      if (op === "set" && resource.kind === "link") this.#creating.add(resource.name);
    }
    this.#foreignChanges = new Map();
  }

  /** The kernel acknowledged a step. */
  applied(entry: TrackedEntry, step: Step): void {
    const { op, resource } = step;
    if (this.#foreignChanges?.has(entry.key)) {
      // Another program changed it after us: its notification is newer than the acknowledgement.
      entry.hasDrifted = true;
      this.#setActual(entry, this.#foreignChanges.get(entry.key), "foreign");
      this.#work.add(entry);
    } else {
      this.#setActual(entry, op === "delete" ? undefined : resource, "own");
    }
    if (op === "delete" && resource.kind === "address") this.#onAddressRemoved(resource);
    if (resource.kind !== "link") return;
    const { name } = resource;
    if (op === "delete") this.#forgetEntriesOn(name);
    else this.#work.wake(name);
    if (op !== "change") return;
    // A new MAC drops the device's neighbours; having been down drops all but its FDB entries.
    const { from } = step;
    if (from.mac !== resource.mac || from.up !== resource.up) this.#resync.request(name);
  }

  /** The kernel refused a step. */
  refused(entry: TrackedEntry, step: Step): void {
    this.#ownChanges.cancel(entry.key, step);
  }

  /** All steps were acknowledged or refused, or never will be. */
  endSteps(): void {
    this.#foreignChanges = undefined;
  }

  // ---- Dumps

  beginDump(): void {
    this.#notifiedKeys = new Set();
  }

  endDump(): void {
    this.#notifiedKeys = undefined;
  }

  /** Notifications were lost since the dump began: it may already be outdated. */
  get isDumpStale(): boolean {
    return this.#notifiedKeys === undefined;
  }

  /**
   * Replaces the cache with a dump, except for entries that notifications changed meanwhile. Of the
   * entries on devices, the dump has only those on `links`.
   */
  load(resources: readonly Resource[], links: ReadonlySet<string>): void {
    const notified: ReadonlySet<ResourceKey> = this.#notifiedKeys ?? new Set();
    const { found, settled } = relevantOf(resources, this.#table, this.#planner);
    const { name } = this.#external;
    if (name !== undefined && !notified.has(linkKey(name))) {
      const link = resources.find((resource): resource is Link =>
        resource.kind === "link" && resource.name === name
      );
      this.#external.observe(link);
    }
    for (const [key, resource] of found) {
      if (!notified.has(key)) this.observe(this.#table.at(key), resource);
    }
    for (const entry of this.#table.records()) {
      const { key, actual } = entry;
      if (actual === undefined || notified.has(key)) continue;
      if (found.has(key) || settled.has(key)) continue;
      if (isCovered(actual, links)) this.observe(entry, undefined);
    }
    this.#loadSettled(settled, { links, isKnown: (key) => found.has(key) || notified.has(key) });
  }

  /** Compares the dump with the settled entries, of which there is no record. */
  #loadSettled(
    found: Map<ResourceKey, Resource>,
    { links, isKnown }: {
      readonly links: ReadonlySet<string>;
      /** Whether the entry was compared already, or is newer than the dump. */
      readonly isKnown: (key: ResourceKey) => boolean;
    },
  ): void {
    const deviating = this.#table.restoreWhere((key, resource) => {
      if (isKnown(key)) return false;
      const value = found.get(key);
      if (value === undefined) return isCovered(resource, links);
      if (!sameResource(resource, value)) return true;
      found.delete(key);
      return false;
    });
    for (const entry of deviating) {
      this.observe(entry, found.get(entry.key));
      found.delete(entry.key);
    }
    // The others have got a record meanwhile, or share only the hash of a settled entry's key.
    for (const [key, resource] of found) {
      if (isKnown(key)) continue;
      const isRelevant = this.#planner.isOurs(resource) || this.#table.get(key) !== undefined;
      if (isRelevant) this.observe(this.#table.at(key), resource);
    }
  }

  // ---- Consequences

  /** Drops a record that is no longer needed; with an entry that is gone, also its failure. */
  release(entry: TrackedEntry): void {
    if (this.#table.release(entry)) this.#failures.clear(entry);
  }

  /** Records the entry that the kernel was found to hold, and adds work if it is out of sync. */
  observe(entry: TrackedEntry, value: Resource | undefined, origin: Origin = "foreign"): void {
    const before = entry.actual;
    if (
      before === undefined
        ? value === undefined
        : value !== undefined && equalResources(before, value)
    ) {
      this.release(entry);
      return;
    }
    const wasInSync = entry.isInSync;
    this.#setActual(entry, value, origin);
    const link = value ?? before;
    if (link?.kind === "link") {
      this.#onLinkChanged(before as Link | undefined, value as Link | undefined, origin);
    }
    if (before?.kind === "address" && value === undefined) this.#onAddressRemoved(before);
    if (entry.isInSync) {
      this.#failures.clear(entry);
      this.release(entry);
      return;
    }
    if (wasInSync && origin === "foreign") entry.hasDrifted = true;
    if (entry.failure !== undefined && entry.failure.kind !== "damped") {
      this.#failures.clear(entry);
    }
    if (this.#planner.decide(entry).kind !== "keep") this.#work.add(entry);
    else this.release(entry);
  }

  #setActual(entry: TrackedEntry, value: Resource | undefined, origin: Origin): void {
    const isOwn = origin === "own";
    if (value !== undefined && entry.desired !== undefined && sameResource(entry.desired, value)) {
      entry.actual = entry.desired;
      entry.isOurChange ||= isOwn;
    } else {
      entry.actual = value;
      entry.isOurChange = isOwn && value !== undefined;
      // The desired entry changed while the step was in flight.
      if (isOwn && entry.desired !== value) this.#work.add(entry);
    }
    this.release(entry);
  }

  /** One of the two is defined. */
  #onLinkChanged(before: Link | undefined, after: Link | undefined, origin: Origin): void {
    if (after === undefined) {
      this.#forgetEntriesOn((before as Link).name);
      return;
    }
    const { name } = after;
    this.#work.wake(name);
    // Created by another program, or down and up again: entries may be gone without a notification.
    const isRisky = before === undefined || before.up !== after.up || before.mac !== after.mac;
    // While we create a device, the kernel first notifies of its unfinished state.
    const isUnfinished = this.#creating.has(name) && this.#ownChanges.isExpected(linkKey(name));
    if (origin === "own" || !isUnfinished) this.#creating.delete(name);
    if (isRisky && origin === "foreign" && !isUnfinished) this.#resync.request(name);
  }

  /** With its last IPv4 address, a device loses its neighbours and, silently, its IPv4 routes. */
  #onAddressRemoved({ address, link }: Address): void {
    if (familyOf(address) === 4) this.#resync.request(link);
  }

  /** A device was deleted, and with it all entries on it. */
  #forgetEntriesOn(name: string): void {
    this.#table.restoreWhere((_, resource) => linkOf(resource) === name);
    for (const entry of this.#table.records()) {
      const resource = entry.actual ?? entry.desired;
      if (resource === undefined || linkOf(resource) !== name) continue;
      this.#foreignChanges?.set(entry.key, undefined);
      if (entry.actual === undefined) continue;
      entry.actual = undefined;
      entry.isOurChange = false;
      this.#notifiedKeys?.add(entry.key);
      if (entry.desired !== undefined) this.#work.add(entry);
      else this.release(entry);
    }
  }
}

/**
 * Whether an entry disappears with this device, or with this address: IPv4 routes disappear with
 * their preferred source. Of a route with several next hops, only one is known.
 */
function mayRestOn(entry: Resource, gone: Resource, device: string): boolean {
  if (linkOf(entry) === device) return true;
  return entry.kind === "route" &&
    (entry.multipath === true || gone.kind === "address" && entry.source === gone.address);
}

/** The entries of a dump that matter: ours, those with a record, and those that may be settled. */
function relevantOf(
  resources: readonly Resource[],
  table: EntryTable,
  planner: EntryPlanner,
): Record<"found" | "settled", Map<ResourceKey, Resource>> {
  const found = new Map<ResourceKey, Resource>();
  const settled = new Map<ResourceKey, Resource>();
  for (const resource of resources) {
    const key = resourceKey(resource);
    if (table.mayBeSettled(key) && !settled.has(key)) {
      settled.set(key, resource);
      continue;
    }
    const entry = table.get(key);
    if (entry === undefined && !planner.isOurs(resource)) continue;
    // Several FDB entries of one MAC, or appended routes: it is enough if one of them is in sync.
    const other = found.get(key) ?? settled.get(key);
    settled.delete(key);
    const isOtherInSync = other !== undefined && entry?.desired !== undefined &&
      sameResource(entry.desired, other);
    found.set(key, isOtherInSync ? other : resource);
  }
  return { found, settled };
}

/** Whether a dump that was limited to these devices would have shown the entry. */
function isCovered(entry: Resource, links: ReadonlySet<string>): boolean {
  const { dump, linkOf } = kindOf(entry);
  if (dump === undefined) return false;
  return dump.extent === "table" || links.has(linkOf(entry) as string);
}
