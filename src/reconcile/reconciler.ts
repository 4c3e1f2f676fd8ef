/**
 * The loop that keeps the kernel as it is desired to be, and the only thing that changes it.
 *
 * Everybody else says what they want (`setDesired`) and goes on. The reconciler mirrors what the
 * kernel holds, from dumps, from its own acknowledged changes and from notifications, so that a
 * change to one entry costs one message and no dump, and a second look costs nothing. What it
 * cannot learn from a notification it reads again: the kernel flushes the IPv4 routes of a device
 * that goes down, and everything on one that is deleted, without a word (net/ipv4/fib_frontend.c).
 */

import { assertNever } from "../addr/assert_never.ts";
import { familyOf } from "../addr/ip.ts";
import type { Log } from "../log/log.ts";
import type { Kernel, KernelEvent, StepResult } from "../netlink/kernel.ts";
import { isOurs, mayAdopt, type Ownership, owns } from "../state/ownership.ts";
import { decide, type Decision, orderSteps } from "../state/plan.ts";
import { linkKey, linkOf, resourceKey } from "../state/resource_key.ts";
import { resourceText } from "../state/resource_text.ts";
import type { Address, Link, Resource, ResourceKey, ResourceKind } from "../state/resource.ts";
import { equalResources, sameResource } from "../state/same_resource.ts";
import type { Step } from "../state/step.ts";
import { backoffMs, type Clock, systemClock } from "../time/clock.ts";
import { Echoes } from "./echoes.ts";
import { type Contest, type Entry, EntryTable, type Trouble } from "./entry_table.ts";
import { Fights } from "./fights.ts";
import { Schedule } from "./schedule.ts";
import { type EntryProblem, type FailedStep, Troubles } from "./troubles.ts";

export interface ReconcilerOptions {
  readonly kernel: Kernel;
  readonly log: Log;
  /** The external interface changed: gone, back, up, down, another MTU, another address. */
  readonly onExternalChanged?: (reason: string) => void;
  /** Reads a file below /proc/sys; `undefined` if there is none. Without it, parameters are written once. */
  readonly readSysctl?: (path: string) => Promise<string | undefined>;
  readonly clock?: Clock;
  /** Everything is read again this often, give or take a tenth, in case a change went unnoticed. */
  readonly resyncMs?: number;
}

/** Which entries are this daemon's, and the interface that carries its packets. */
export interface ReconcilerScope {
  readonly ownership: Ownership;
  readonly external: string | undefined;
}

export interface ReconcilerStatus {
  /** The kernel holds exactly what is desired, as far as is known. */
  readonly inSync: boolean;
  /** Entries that wait for their turn, or for a device. */
  readonly pending: number;
  readonly failing: readonly EntryProblem[];
  /** Entries whose key somebody else holds. */
  readonly conflicts: readonly EntryProblem[];
  /** Entries that somebody else changed and that were put right since the start. */
  readonly repairs: number;
  /** When the kernel was last read in full, in milliseconds of the clock. */
  readonly lastResyncMs: number | undefined;
}

/** Steps between two breaths of the event loop: some 10 ms of work. */
const CHUNK_ENTRIES = 2000;
const RETRY = { firstMs: 100, maxMs: 30_000 };
const RESYNC_MS = 300_000;

const EARLY_KINDS: ReadonlySet<string> = new Set(["address", "sysctl", "wireguard-device", "fou"]);
const OUR_KINDS: readonly ResourceKind[] = ["link", "address", "neighbour", "fdb", "route"];
const NO_OWNERSHIP: Ownership = {
  links: new Set(),
  linkTypes: new Set(),
  networks: [],
  routeLink: undefined,
};

export class Reconciler implements AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #log: Log;
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;

  #scope: ReconcilerScope = { ownership: NO_OWNERSHIP, external: undefined };
  readonly #table = new EntryTable((contest) => this.#onContest(contest));
  readonly #contests = new Set<string>();
  /** To be looked at in the next pass. */
  readonly #dirty = new Set<ResourceKey>();
  /** Waiting for a device, by its name. */
  readonly #blocked = new Map<string, Set<ResourceKey>>();
  readonly #troubles: Troubles;
  /** Was in order until somebody else changed it. */
  readonly #drifted = new Set<ResourceKey>();
  readonly #fights: Fights;
  readonly #echoes: Echoes;
  /** Foreign changes to entries with a step under way: what the kernel held after them. */
  #disturbed: Map<ResourceKey, Resource | undefined> | undefined;

  /** Devices that were asked for and of which the kernel has not told yet. */
  readonly #making = new Set<string>();
  #external: Link | undefined;
  #resync: string | undefined = "start";
  /** Devices whose entries, and the routes, must be read again. */
  readonly #examine = new Set<string>();
  /** Keys that notifications named while a dump was under way: newer than the dump. */
  #touched: Set<ResourceKey> | undefined;
  /** The last attempt to read succeeded. */
  #dumpTrusted = false;
  #dumpFailures = 0;
  #passFailures = 0;
  #sweepAllowed = false;

  #watch: Disposable | undefined;
  readonly #schedule: Schedule;
  #resyncAtMs = Infinity;
  #readAgainAtMs = 0;
  #pass: Promise<void> | undefined;
  #stopped = false;
  #synced = false;
  #repairs = 0;
  #lastResyncMs: number | undefined;
  #settled: (() => void)[] = [];

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#kernel = options.kernel;
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
    this.#echoes = new Echoes(this.#clock);
    this.#fights = new Fights(this.#clock);
    this.#troubles = new Troubles({ clock: this.#clock, log: this.#log });
    this.#schedule = new Schedule({
      clock: this.#clock,
      mustRead: () => this.#mustRead(),
      start: () => this.#startPass(),
    });
  }

  /** Starts to watch the kernel and to work. */
  start(scope: ReconcilerScope): void {
    this.#scope = scope;
    this.#watch = this.#kernel.watch((event) => this.#onEvent(event));
    this.#mark();
  }

  /** Another external interface, or other networks: everything is read again. */
  setScope(scope: ReconcilerScope): void {
    this.#scope = scope;
    if (this.#external?.name !== scope.external) this.#external = undefined;
    this.requestResync("the scope changed");
  }

  /**
   * Replaces all entries that `owner` (the node, or a lease) desires. Of two owners that desire
   * different things under one key, the one with the higher precedence stands. Costs as much as the
   * owner has entries.
   */
  setDesired(owner: string, resources: readonly Resource[], precedence = 0n): void {
    this.#table.setDesired(owner, resources, precedence, (entry) => {
      this.#drifted.delete(entry.key);
      this.#troubles.clear(entry);
      this.#markDirty(entry);
    });
  }

  removeOwner(owner: string): void {
    this.setDesired(owner, []);
  }

  /** What is ours and desired by nobody may be deleted from now on: the desired state is complete. */
  allowSweep(): void {
    if (this.#sweepAllowed) return;
    this.#sweepAllowed = true;
    for (const entry of this.#table.values()) {
      if (entry.desired === undefined) this.#markDirty(entry);
    }
    this.#mark();
  }

  /** Reads everything again soon. */
  requestResync(reason: string): void {
    this.#resync ??= reason;
    this.#mark();
  }

  status(): ReconcilerStatus {
    const pending = this.#dirty.size + this.#blockedCount();
    return {
      inSync: this.#synced && this.#isIdle() && pending === 0 && this.#troubles.size === 0,
      pending,
      ...this.#troubles.status(),
      repairs: this.#repairs,
      lastResyncMs: this.#lastResyncMs,
    };
  }

  /** Resolves when all that can be done has been done; what fails or waits is in `status`. */
  whenSettled(): Promise<void> {
    if (this.#stopped || this.#synced && this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#settled.push(resolve));
  }

  /** Stops after the batch that is under way and leaves the kernel's tables as they are. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#watch?.[Symbol.dispose]();
    this.#schedule[Symbol.dispose]();
    await this.#pass;
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  // ---- When to work

  #markDirty(entry: Entry): void {
    const { trouble } = entry;
    // A fight is not fought faster because the other side moved again.
    if (trouble?.kind === "contended" && trouble.retryAtMs > this.#clock.nowMs()) return;
    this.#dirty.add(entry.key);
    this.#mark();
  }

  /** There is work; before the start it is only remembered. */
  #mark(): void {
    if (this.#watch !== undefined && !this.#stopped) this.#schedule.mark();
  }

  #mustRead(): boolean {
    return this.#resync !== undefined || this.#examine.size > 0;
  }

  #startPass(): void {
    if (this.#pass !== undefined || this.#stopped) return; // A pass that ends looks for more work.
    this.#pass = this.#runPass()
      .then(() => void (this.#passFailures = 0))
      .catch((error: unknown) => {
        this.#log.error({ err: error }, "the reconcile loop failed; it reads the kernel again");
        this.#resync ??= "a failure";
        this.#delayReading(++this.#passFailures);
      })
      .finally(() => {
        this.#pass = undefined;
        if (!this.#stopped) this.#scheduleNext();
      });
  }

  #scheduleNext(): void {
    if (this.#synced && this.#isIdle()) {
      for (const resolve of this.#settled.splice(0)) resolve();
    }
    const now = this.#clock.nowMs();
    const mustRead = this.#mustRead();
    let nextMs = this.#resyncAtMs;
    if (mustRead) nextMs = Math.min(nextMs, this.#readAgainAtMs);
    if (this.#dirty.size > 0 && this.#synced && !mustRead) nextMs = now;
    this.#schedule.setNext(Math.min(nextMs, this.#troubles.nextRetryMs));
  }

  #isIdle(): boolean {
    return this.#dirty.size === 0 && this.#resync === undefined && this.#examine.size === 0 &&
      this.#pass === undefined;
  }

  // ---- One pass

  async #runPass(): Promise<void> {
    const now = this.#clock.nowMs();
    if (now >= this.#resyncAtMs) this.#resync ??= "the regular check";
    if (now >= this.#readAgainAtMs) {
      if (this.#resync !== undefined) await this.#readKernel("all");
      else if (this.#examine.size > 0) await this.#readKernel(new Set(this.#examine));
    }
    if (!this.#synced) return;
    for (const entry of this.#troubles.entries()) {
      if ((entry.trouble as Trouble).retryAtMs <= now) this.#dirty.add(entry.key);
    }
    await this.#applyDirty();
  }

  /** Devices first, then their addresses, then the many entries, a chunk at a time. */
  async #applyDirty(): Promise<void> {
    for (const group of [0, 1, 2] as const) {
      const keys = [...this.#dirty].filter((key) => groupOf(key) === group);
      for (let start = 0; start < keys.length; start += CHUNK_ENTRIES) {
        if (this.#stopped) return;
        if (start > 0) await this.#clock.yield();
        await this.#applyKeys(keys.slice(start, start + CHUNK_ENTRIES));
      }
    }
  }

  async #applyKeys(keys: readonly ResourceKey[]): Promise<void> {
    const keyOf = new Map<Step, ResourceKey>();
    const usable = new Map<string, boolean>();
    for (const key of keys) {
      if (!this.#dirty.delete(key)) continue;
      const entry = this.#table.get(key);
      if (entry === undefined) continue;
      for (const step of this.#stepsFor(entry, usable)) keyOf.set(step, key);
    }
    if (keyOf.size === 0) return;
    const steps = orderSteps([...keyOf.keys()]);
    this.#echoes.expect(keyOf);
    for (const { op, resource } of steps) {
      if (op === "set" && resource.kind === "link") this.#making.add(resource.name);
    }
    const results = await this.#perform(steps, keyOf);
    const failed: FailedStep[] = [];
    for (const [i, step] of steps.entries()) {
      const entry = this.#table.at(keyOf.get(step) as ResourceKey);
      const error = results[i];
      if (error === undefined) this.#onApplied(entry, step);
      else failed.push({ entry, step, error });
    }
    this.#disturbed = undefined;
    this.#onFailed(failed);
  }

  /** Without an answer, nobody knows what was done: the keys stay dirty until that has been read. */
  async #perform(
    steps: readonly Step[],
    keyOf: ReadonlyMap<Step, ResourceKey>,
  ): Promise<readonly StepResult[]> {
    this.#disturbed = new Map();
    try {
      return await this.#kernel.apply(steps);
    } catch (error) {
      this.#disturbed = undefined;
      for (const key of keyOf.values()) this.#dirty.add(key);
      throw error;
    }
  }

  /** What to do about an entry now; nothing if it is in order, blocked, or somebody else's. */
  #stepsFor(entry: Entry, usable: Map<string, boolean>): readonly Step[] {
    const blocker = entry.desired && this.#blockerOf(entry.desired, usable);
    if (blocker !== undefined) {
      let waiting = this.#blocked.get(blocker);
      if (waiting === undefined) this.#blocked.set(blocker, waiting = new Set());
      waiting.add(entry.key);
      return [];
    }
    const decision = this.#decide(entry);
    switch (decision.kind) {
      case "keep":
        this.#drifted.delete(entry.key);
        this.#troubles.clear(entry);
        this.#release(entry);
        return [];
      case "conflict":
        this.#troubles.conflict(entry, decision.holder);
        return [];
      case "recreate":
        this.#log.warn(
          `device ${(entry.desired as Link).name} exists but ${decision.reason}; ` +
            "it is deleted and made again",
        );
        return this.#isContended(entry) ? [] : decision.steps;
      case "act":
        return this.#isContended(entry) ? [] : decision.steps;
      default:
        return assertNever(decision);
    }
  }

  #decide(entry: Entry): Decision {
    const { desired, actual } = entry;
    const { ownership } = this.#scope;
    return decide({
      desired,
      actual,
      ours: actual !== undefined &&
        (entry.made || owns(actual, ownership, (name) => this.#linkNamed(name))),
      adoptable: actual !== undefined && mayAdopt(actual, ownership),
      maySweep: this.#sweepAllowed && this.#dumpTrusted,
    });
  }

  /** Name of the device that an entry must wait for; `usable` remembers answers within a batch. */
  #blockerOf(desired: Resource, usable: Map<string, boolean>): string | undefined {
    if (desired.kind === "link") {
      const isMissing = desired.type === "vxlan" && desired.underlay === this.#scope.external &&
        this.#external === undefined;
      return isMissing ? this.#scope.external : undefined;
    }
    const name = linkOf(desired);
    if (name === undefined) return undefined;
    if (desired.kind === "sysctl") {
      return this.#isUsable(name, { whenDown: true }) ? undefined : name;
    }
    let isUsable = usable.get(name);
    if (isUsable === undefined) {
      isUsable = this.#isUsable(name, { whenDown: false });
      usable.set(name, isUsable);
    }
    return isUsable ? undefined : name;
  }

  #isUsable(name: string, { whenDown }: { readonly whenDown: boolean }): boolean {
    if (name === this.#scope.external) return this.#external?.up ?? false;
    const link = this.#table.get(linkKey(name));
    if (link?.desired === undefined) return true;
    return link.actual?.kind === "link" && (link.actual.up || whenDown) &&
      this.#scope.ownership.linkTypes.has(link.actual.type);
  }

  // ---- What became of a step

  #onApplied(entry: Entry, step: Step): void {
    this.#troubles.clear(entry, "recovered");
    if (this.#drifted.delete(entry.key)) {
      this.#repairs++;
      this.#log.debug(`put back ${resourceText(step.resource)}`);
    }
    if (this.#disturbed?.has(entry.key)) {
      // Somebody changed it after us; what the notification said is what counts.
      this.#setActual(entry, this.#disturbed.get(entry.key), false);
      this.#drifted.add(entry.key);
      this.#markDirty(entry);
    } else {
      this.#setActual(entry, step.op === "delete" ? undefined : step.resource, true);
    }
    if (step.op === "delete" && isIpv4Address(step.resource)) this.#lookAgainAt(step.resource.link);
    if (step.resource.kind !== "link") return;
    const { name } = step.resource;
    if (step.op === "delete") this.#forgetOn(name);
    else this.#unblock(name);
    if (step.op !== "change") return;
    // A new MAC drops the device's neighbours; having been down, all but its FDB entries.
    const { from, resource } = step;
    if (from.mac !== resource.mac || from.up !== resource.up) this.#lookAgainAt(name);
  }

  #onFailed(failed: readonly FailedStep[]): void {
    const troubled: FailedStep[] = [];
    for (const one of failed) {
      const { entry, step, error } = one;
      this.#echoes.cancel(entry.key, step);
      const name = step.resource.kind === "link" ? step.resource.name : linkOf(step.resource);
      switch (error.code) {
        case "EEXIST": // Somebody was faster: see who it is.
        case "ENODEV":
        case "ENXIO":
        case "ENETDOWN":
        case "EADDRNOTAVAIL":
          if (name !== undefined || error.code === "EEXIST") this.#lookAgainAt(name ?? "");
          break;
      }
      if (entry.desired !== undefined || entry.actual !== undefined) troubled.push(one);
      else this.#release(entry); // Nobody wants it any more.
    }
    this.#troubles.failed(troubled);
  }

  /** Whether the entry is being fought over, so that it is not put right at once. */
  #isContended(entry: Entry): boolean {
    if (!this.#drifted.has(entry.key)) return false;
    const { trouble } = entry;
    const wait = trouble?.kind !== "contended"
      ? "none"
      : trouble.retryAtMs <= this.#clock.nowMs()
      ? "over"
      : "running";
    const delay = this.#fights.beforeRepair(entry.key, wait);
    if (delay !== undefined) this.#troubles.contended(entry, delay);
    return delay !== undefined;
  }

  /** Forgets an entry that is neither desired nor there, and its troubles with it. */
  #release(entry: Entry): void {
    if (!this.#table.release(entry)) return;
    this.#troubles.clear(entry);
    this.#drifted.delete(entry.key);
  }

  #onContest({ winner, loser }: Contest): void {
    const text = `${winner.owner} and ${loser.owner} want different things: ` +
      `${resourceText(winner.resource)} stands, ${resourceText(loser.resource)} does not`;
    if (this.#contests.has(text) || this.#contests.size >= 1000) return;
    this.#contests.add(text);
    this.#log.warn(text);
  }

  // ---- What the kernel holds

  #onEvent(event: KernelEvent): void {
    if (this.#stopped) return;
    if (event.kind === "overrun") {
      this.#resync = "notifications were lost";
      this.#readAgainAtMs = 0;
      this.#touched = undefined;
      this.#mark();
      return;
    }
    const { resource, deleted } = event;
    if (resource.kind === "link" && resource.name === this.#scope.external) {
      this.#observeExternal(deleted ? undefined : resource);
    }
    if (resource.kind === "address" && resource.link === this.#scope.external) {
      if (deleted && isIpv4Address(resource)) this.#lookAgainAt(resource.link);
      this.#options.onExternalChanged?.(
        `address ${resource.address} was ${deleted ? "removed" : "set"}`,
      );
    }
    const key = resourceKey(resource);
    const known = this.#table.get(key);
    if (known === undefined && (deleted || !isOurs(resource, this.#scope.ownership))) return;
    const value = deleted ? undefined : resource;
    this.#touched?.add(key);
    const origin = this.#echoes.classify(key, resource, deleted);
    if (origin === "earlier") return;
    const entry = this.#table.at(key);
    if (origin === "last") this.#disturbed?.delete(key);
    else this.#disturbed?.set(key, value);
    if (origin === "foreign" && resource.kind === "link") this.#distrust(resource, deleted);
    this.#observe(entry, value, origin === "last");
    // Somebody who keeps adding things to our device is met like one who keeps removing ours.
    if (origin === "foreign" && value !== undefined && entry.desired === undefined) {
      this.#drifted.add(key);
    }
  }

  /** Takes over what the kernel was seen to hold, and marks what must be done about it. */
  #observe(entry: Entry, value: Resource | undefined, isOwn = false): void {
    const before = entry.actual;
    if (
      before === undefined
        ? value === undefined
        : value !== undefined && equalResources(before, value)
    ) {
      this.#release(entry);
      return;
    }
    const wasInSync = entry.inSync;
    this.#setActual(entry, value, isOwn);
    const link = value ?? before;
    if (link?.kind === "link") {
      this.#onLinkChanged(link.name, before as Link | undefined, value as Link | undefined, isOwn);
    }
    if (before !== undefined && value === undefined && isIpv4Address(before)) {
      this.#lookAgainAt(before.link);
    }
    if (entry.inSync) {
      this.#troubles.clear(entry);
      return;
    }
    if (wasInSync && !isOwn) this.#drifted.add(entry.key);
    if (entry.trouble !== undefined && entry.trouble.kind !== "contended") {
      this.#troubles.clear(entry);
    }
    if (this.#decide(entry).kind !== "keep") this.#markDirty(entry);
    else this.#release(entry);
  }

  #setActual(entry: Entry, value: Resource | undefined, made: boolean): void {
    if (value !== undefined && entry.desired !== undefined && sameResource(entry.desired, value)) {
      entry.actual = entry.desired;
      entry.made ||= made;
    } else {
      entry.actual = value;
      entry.made = made && value !== undefined;
      if (made && entry.desired !== value) this.#markDirty(entry); // The wish changed meanwhile.
    }
    this.#release(entry);
  }

  #onLinkChanged(
    name: string,
    before: Link | undefined,
    after: Link | undefined,
    isOwn: boolean,
  ): void {
    if (after === undefined) {
      this.#forgetOn(name);
      return;
    }
    this.#unblock(name);
    // Made by somebody else, or down and up again: entries may have gone without a notification.
    const isRisky = before === undefined || before.up !== after.up || before.mac !== after.mac;
    // Of a device that we are making, the kernel first tells what it looks like half done.
    const isHalfDone = this.#making.has(name) && this.#echoes.isExpected(linkKey(name));
    if (isOwn || !isHalfDone) this.#making.delete(name);
    if (isRisky && !isOwn && !isHalfDone) this.#lookAgainAt(name);
  }

  /**
   * A dump may have told already that a device went, or went down, and notifications from before
   * that may have been delivered since: what they said of the device's entries no longer holds.
   */
  #distrust(link: Link, deleted: boolean): void {
    if (deleted) this.#forgetOn(link.name);
    else if (!link.up && !this.#making.has(link.name)) this.#lookAgainAt(link.name);
  }

  #observeExternal(link: Link | undefined): void {
    const before = this.#external;
    this.#external = link;
    const changes: string[] = [];
    if (link === undefined) {
      if (before !== undefined) changes.push("it is gone");
    } else if (before === undefined) {
      if (this.#synced) changes.push("it is there");
    } else {
      if (before.up !== link.up) changes.push(link.up ? "it is up" : "it is down");
      if (before.mtuBytes !== link.mtuBytes) changes.push(`its MTU is ${link.mtuBytes}`);
    }
    if (changes.length === 0) return;
    const { external } = this.#scope;
    if (external === undefined) return;
    this.#lookAgainAt(external);
    if (link !== undefined) this.#unblock(external);
    for (const entry of this.#troubles.entries()) {
      if (entry.trouble?.kind === "failing") this.#markDirty(entry);
    }
    this.#options.onExternalChanged?.(changes.join(", "));
  }

  /** A device is gone, and with it all that was on it. */
  #forgetOn(name: string): void {
    for (const entry of this.#table.values()) {
      const resource = entry.actual ?? entry.desired;
      if (resource === undefined || linkOf(resource) !== name) continue;
      this.#disturbed?.set(entry.key, undefined);
      if (entry.actual === undefined) continue;
      entry.actual = undefined;
      entry.made = false;
      this.#touched?.add(entry.key);
      if (entry.desired !== undefined) this.#markDirty(entry);
      else this.#release(entry);
    }
  }

  #unblock(name: string): void {
    const waiting = this.#blocked.get(name);
    if (waiting === undefined) return;
    this.#blocked.delete(name);
    for (const key of waiting) this.#dirty.add(key);
    this.#mark();
  }

  /** Reads the entries on this device, and the routes, before the next change. */
  #lookAgainAt(name: string): void {
    this.#examine.add(name);
    this.#mark();
  }

  #linkNamed(name: string): Link | undefined {
    const actual = this.#table.get(linkKey(name))?.actual;
    return actual?.kind === "link" ? actual : undefined;
  }

  #blockedCount(): number {
    let count = 0;
    for (const keys of this.#blocked.values()) count += keys.size;
    return count;
  }

  // ---- Reading the kernel

  /** Reads the routes and links, and the entries on these devices. */
  async #readKernel(scope: "all" | ReadonlySet<string>): Promise<void> {
    const ours = this.#scope.ownership.links;
    const links = scope === "all" ? ours : new Set([...scope].filter((name) => ours.has(name)));
    const reason = this.#resync;
    if (scope === "all") this.#resync = undefined;
    this.#examine.clear();
    const touched = this.#touched = new Set();
    try {
      const kinds: readonly ResourceKind[] = links.size > 0 ? OUR_KINDS : ["link", "route"];
      const { extraKinds = [] } = this.#scope.ownership;
      const resources = await this.#kernel.dump([...kinds, ...extraKinds], links);
      // An overrun while reading: what was read may already be wrong.
      if (this.#touched !== touched) return;
      const asked = [...this.#examine];
      this.#takeOver(resources, links, touched);
      // What was read is what there is; only what notifications asked for meanwhile is read again.
      for (const name of this.#examine) {
        if (links.has(name) || scope === "all" || scope.has(name)) this.#examine.delete(name);
      }
      for (const name of asked) this.#examine.add(name);
      if (scope === "all") await this.#readSysctls();
      this.#onRead(scope);
    } catch (error) {
      if (scope === "all") this.#resync ??= reason;
      else for (const name of scope) this.#examine.add(name);
      this.#dumpTrusted = false;
      this.#delayReading(++this.#dumpFailures);
      if ((this.#dumpFailures & (this.#dumpFailures - 1)) === 0) {
        this.#log.warn(`${(error as Error).message}; nothing is deleted until it can be read`);
      }
    } finally {
      this.#touched = undefined;
    }
  }

  #onRead(scope: "all" | ReadonlySet<string>): void {
    this.#dumpFailures = 0;
    this.#readAgainAtMs = 0;
    if (!this.#dumpTrusted && scope === "all") {
      this.#dumpTrusted = true;
      if (this.#sweepAllowed) this.#markStale();
    }
    if (scope !== "all") {
      // A partial reading restores trust only if a full one came before.
      if (!this.#dumpTrusted) this.#resync ??= "an interrupted reading";
      return;
    }
    this.#synced = true;
    this.#lastResyncMs = this.#clock.nowMs();
    const everyMs = this.#options.resyncMs ?? RESYNC_MS;
    this.#resyncAtMs = this.#lastResyncMs + everyMs * (0.9 + this.#clock.random() / 5);
    this.#fights.forgetOld();
  }

  #markStale(): void {
    for (const entry of this.#table.values()) {
      if (entry.desired === undefined) this.#markDirty(entry);
    }
  }

  /** Makes the mirror what was read, but for entries that notifications spoke of meanwhile. */
  #takeOver(
    resources: readonly Resource[],
    links: ReadonlySet<string>,
    touched: ReadonlySet<ResourceKey>,
  ): void {
    const { external, ownership } = this.#scope;
    const seen = new Map<ResourceKey, Resource>();
    for (const resource of resources) {
      const key = resourceKey(resource);
      const entry = this.#table.get(key);
      if (entry === undefined && !isOurs(resource, ownership)) continue;
      // Several FDB entries of one MAC, or appended routes: one that is right will do.
      const rival = seen.get(key);
      if (rival !== undefined && entry?.desired && sameResource(entry.desired, rival)) continue;
      seen.set(key, resource);
    }
    if (external !== undefined && !touched.has(linkKey(external))) {
      const link = resources.find((r) => r.kind === "link" && r.name === external);
      this.#observeExternal(link as Link | undefined);
    }
    for (const [key, resource] of seen) {
      if (!touched.has(key)) this.#observe(this.#table.at(key), resource);
    }
    for (const entry of this.#table.values()) {
      const { actual } = entry;
      if (actual === undefined || seen.has(entry.key) || touched.has(entry.key)) continue;
      const link = linkOf(actual);
      const wasRead = !isOnDevice(actual) ||
        actual.kind !== "sysctl" && link !== undefined && links.has(link);
      if (wasRead) this.#observe(entry, undefined);
    }
  }

  async #readSysctls(): Promise<void> {
    const read = this.#options.readSysctl;
    if (read === undefined) return;
    for (const entry of [...this.#table.values()]) {
      const { desired } = entry;
      if (desired?.kind !== "sysctl") continue;
      const value = (await read(desired.path))?.trim();
      this.#observe(entry, value === undefined ? undefined : { ...desired, value });
    }
  }

  #delayReading(failures: number): void {
    this.#readAgainAtMs = this.#clock.nowMs() + backoffMs(failures, RETRY, this.#clock);
  }
}

/** With its last one, a device loses its IPv4 routes, silently, and its neighbours. */
function isIpv4Address(resource: Resource): resource is Address {
  return resource.kind === "address" && familyOf(resource.address) === 4;
}

/** Entries of the other kinds are read whatever devices are asked for. */
function isOnDevice({ kind }: Resource): boolean {
  return kind !== "link" && kind !== "route" && kind !== "fou" && kind !== "xfrm-policy";
}

/** Devices, then what they need, then the many entries on them; read from the key's first word. */
function groupOf(key: ResourceKey): 0 | 1 | 2 {
  if (key.startsWith("link ")) return 0;
  return EARLY_KINDS.has(key.slice(0, key.indexOf(" "))) ? 1 : 2;
}
