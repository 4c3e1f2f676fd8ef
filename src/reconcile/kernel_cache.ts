/**
 * What the kernel holds, entry by entry: learned from readings, from the reconciler's own steps and
 * from notifications. Whatever is seen to differ from what is desired goes to the work list.
 *
 * What cannot be learned from a notification is read again: the kernel flushes the IPv4 routes of a
 * device that goes down, and everything on one that is deleted, without a word
 * (net/ipv4/fib_frontend.c).
 */

import { familyOf } from "../addr/ip.ts";
import type { KernelEvent } from "../kernel/kernel.ts";
import { kindOf } from "../state/resource.ts";
import { linkKey, linkOf, resourceKey } from "../state/resource_key.ts";
import type { Address, Link, Resource, ResourceKey } from "../state/resource.ts";
import { equalResources, sameResource } from "../state/same_resource.ts";
import type { Step } from "../state/step.ts";
import type { Clock } from "../base/clock.ts";
import { OwnChanges } from "./own_changes.ts";
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

export class KernelCache {
  readonly #table: EntryTable;
  readonly #planner: EntryPlanner;
  readonly #external: ExternalLink;
  readonly #work: WorkList;
  readonly #resync: ResyncQueue;
  readonly #failures: Failures;
  readonly #ownChanges: OwnChanges;
  /** Devices that were asked for and of which the kernel has not told yet. */
  readonly #creating = new Set<string>();
  /** Foreign changes to entries with a step under way: what the kernel held after them. */
  #foreignChanges: Map<ResourceKey, Resource | undefined> | undefined;
  /** Keys that notifications named while the kernel is being read: newer than the reading. */
  #notifiedKeys: Set<ResourceKey> | undefined;

  constructor({ clock, table, planner: judge, external, work, resync: readings, failures: troubles }: KernelCacheOptions) {
    this.#table = table;
    this.#planner = judge;
    this.#external = external;
    this.#work = work;
    this.#resync = readings;
    this.#failures = troubles;
    this.#ownChanges = new OwnChanges(clock);
  }

  // ---- Notifications

  receive(event: KernelEvent): void {
    if (event.kind === "overrun") {
      this.#notifiedKeys = undefined;
      this.#resync.requestAllNow();
      return;
    }
    const { resource, deleted } = event;
    this.#receiveExternal(resource, deleted);
    const key = resourceKey(resource);
    if (this.#table.get(key) === undefined && (deleted || !this.#planner.isOurs(resource))) return;
    const value = deleted ? undefined : resource;
    this.#notifiedKeys?.add(key);
    const origin = this.#ownChanges.classify(key, resource, deleted);
    if (origin === "earlier") return;
    const entry = this.#table.at(key);
    if (origin === "last") this.#foreignChanges?.delete(key);
    else this.#foreignChanges?.set(key, value);
    if (origin === "foreign" && resource.kind === "link") this.#resyncEntriesOn(resource, deleted);
    this.observe(entry, value, origin === "last");
    // Somebody who keeps adding things to our device is met like one who keeps removing ours.
    if (origin === "foreign" && value !== undefined && entry.desired === undefined) {
      entry.hasDrifted = true;
    }
  }

  #receiveExternal(resource: Resource, deleted: boolean): void {
    const { name } = this.#external;
    if (resource.kind === "link" && resource.name === name) {
      this.#external.observe(deleted ? undefined : resource);
    }
    if (resource.kind === "address" && resource.link === name) {
      if (deleted) this.#onAddressRemoved(resource);
      this.#external.observeAddress(resource, deleted);
    }
  }

  /**
   * A reading may have told already that a device went, or went down, and notifications from before
   * that may have been delivered since: what they said of the device's entries no longer holds.
   */
  #resyncEntriesOn(link: Link, deleted: boolean): void {
    if (deleted) this.#forgetEntriesOn(link.name);
    else if (!link.up && !this.#creating.has(link.name)) this.#resync.request(link.name);
  }

  // ---- Our own steps

  /** These steps are sent now. */
  beginSteps(steps: ReadonlyMap<Step, ResourceKey>): void {
    this.#ownChanges.expect(steps);
    for (const { op, resource } of steps.keys()) {
      if (op === "set" && resource.kind === "link") this.#creating.add(resource.name);
    }
    this.#foreignChanges = new Map();
  }

  /** The kernel has carried out a step. */
  applied(entry: TrackedEntry, step: Step): void {
    const { op, resource } = step;
    if (this.#foreignChanges?.has(entry.key)) {
      // Somebody changed it after us; what the notification said is what counts.
      this.#setActual(entry, this.#foreignChanges.get(entry.key), false);
      entry.hasDrifted = true;
      this.#work.add(entry);
    } else {
      this.#setActual(entry, op === "delete" ? undefined : resource, true);
    }
    if (op === "delete" && resource.kind === "address") this.#onAddressRemoved(resource);
    if (resource.kind !== "link") return;
    const { name } = resource;
    if (op === "delete") this.#forgetEntriesOn(name);
    else this.#work.wake(name);
    if (op !== "change") return;
    // A new MAC drops the device's neighbours; having been down, all but its FDB entries.
    const { from } = step;
    if (from.mac !== resource.mac || from.up !== resource.up) this.#resync.request(name);
  }

  /** The kernel has refused a step. */
  refused(entry: TrackedEntry, step: Step): void {
    this.#ownChanges.cancel(entry.key, step);
  }

  /** All answers have been heard, or there will be none. */
  endSteps(): void {
    this.#foreignChanges = undefined;
  }

  // ---- Readings

  beginDump(): void {
    this.#notifiedKeys = new Set();
  }

  endDump(): void {
    this.#notifiedKeys = undefined;
  }

  /** Notifications were lost since the reading began: what was read may already be wrong. */
  get isDumpStale(): boolean {
    return this.#notifiedKeys === undefined;
  }

  /**
   * Makes the mirror what was read, but for entries that notifications spoke of meanwhile. Read were
   * all entries, of those that lie on devices the ones on `links`.
   */
  load(resources: readonly Resource[], links: ReadonlySet<string>): void {
    const touched: ReadonlySet<ResourceKey> = this.#notifiedKeys ?? new Set();
    const seen = this.#relevant(resources);
    const { name } = this.#external;
    if (name !== undefined && !touched.has(linkKey(name))) {
      const link = resources.find((resource): resource is Link =>
        resource.kind === "link" && resource.name === name
      );
      this.#external.observe(link);
    }
    for (const [key, resource] of seen) {
      if (!touched.has(key)) this.observe(this.#table.at(key), resource);
    }
    for (const entry of this.#table.values()) {
      const { actual } = entry;
      if (actual === undefined || seen.has(entry.key) || touched.has(entry.key)) continue;
      if (isCovered(actual, links)) this.observe(entry, undefined);
    }
  }

  #relevant(resources: readonly Resource[]): ReadonlyMap<ResourceKey, Resource> {
    const seen = new Map<ResourceKey, Resource>();
    for (const resource of resources) {
      const key = resourceKey(resource);
      const entry = this.#table.get(key);
      if (entry === undefined && !this.#planner.isOurs(resource)) continue;
      // Several FDB entries of one MAC, or appended routes: one that is right will do.
      const rival = seen.get(key);
      if (rival !== undefined && entry?.desired && sameResource(entry.desired, rival)) continue;
      seen.set(key, resource);
    }
    return seen;
  }

  // ---- What it means

  /** Forgets an entry that is neither desired nor there, and its troubles with it. */
  release(entry: TrackedEntry): void {
    if (this.#table.release(entry)) this.#failures.clear(entry);
  }

  /** Takes over what the kernel was seen to hold, and marks what must be done about it. */
  observe(entry: TrackedEntry, value: Resource | undefined, isOwn = false): void {
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
    this.#setActual(entry, value, isOwn);
    const link = value ?? before;
    if (link?.kind === "link") {
      this.#onLinkChanged(link.name, before as Link | undefined, value as Link | undefined, isOwn);
    }
    if (before?.kind === "address" && value === undefined) this.#onAddressRemoved(before);
    if (entry.isInSync) {
      this.#failures.clear(entry);
      return;
    }
    if (wasInSync && !isOwn) entry.hasDrifted = true;
    if (entry.failure !== undefined && entry.failure.kind !== "contended") {
      this.#failures.clear(entry);
    }
    if (this.#planner.decide(entry).kind !== "keep") this.#work.add(entry);
    else this.release(entry);
  }

  #setActual(entry: TrackedEntry, value: Resource | undefined, isOurs: boolean): void {
    if (value !== undefined && entry.desired !== undefined && sameResource(entry.desired, value)) {
      entry.actual = entry.desired;
      entry.isOurChange ||= isOurs;
    } else {
      entry.actual = value;
      entry.isOurChange = isOurs && value !== undefined;
      if (isOurs && entry.desired !== value) this.#work.add(entry); // The wish changed meanwhile.
    }
    this.release(entry);
  }

  #onLinkChanged(
    name: string,
    before: Link | undefined,
    after: Link | undefined,
    isOwn: boolean,
  ): void {
    if (after === undefined) {
      this.#forgetEntriesOn(name);
      return;
    }
    this.#work.wake(name);
    // Made by somebody else, or down and up again: entries may have gone without a notification.
    const isRisky = before === undefined || before.up !== after.up || before.mac !== after.mac;
    // Of a device that we are making, the kernel first tells what it looks like half done.
    const isHalfDone = this.#creating.has(name) && this.#ownChanges.isExpected(linkKey(name));
    if (isOwn || !isHalfDone) this.#creating.delete(name);
    if (isRisky && !isOwn && !isHalfDone) this.#resync.request(name);
  }

  /** With its last IPv4 address, a device loses its IPv4 routes, silently, and its neighbours. */
  #onAddressRemoved({ address, link }: Address): void {
    if (familyOf(address) === 4) this.#resync.request(link);
  }

  /** A device is gone, and with it all that was on it. */
  #forgetEntriesOn(name: string): void {
    for (const entry of this.#table.values()) {
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

/** Whether a reading that was limited to these devices would have shown the entry. */
function isCovered(entry: Resource, links: ReadonlySet<string>): boolean {
  const { dump, linkOf } = kindOf(entry);
  if (dump === undefined) return false;
  return dump.extent === "table" || links.has(linkOf(entry) as string);
}
