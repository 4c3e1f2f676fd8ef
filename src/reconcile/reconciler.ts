/**
 * The loop that keeps the kernel as it is desired to be, and the only thing that changes it.
 *
 * Everybody else says what they want (`setDesired`) and goes on. A pass looks only at entries that
 * are known to need it: their wish changed, or the mirror of what the kernel holds did. So a change
 * to one entry costs one message and no reading, and a second look costs nothing.
 */

import { assertNever } from "../base/assert_never.ts";
import type { Log } from "../log/log.ts";
import type { Kernel, KernelEvent, StepResult } from "../kernel/kernel.ts";
import type { Ownership } from "../state/ownership.ts";
import { orderSteps } from "../state/plan.ts";
import { dumpedKinds, STAGE } from "../state/resource.ts";
import { kindOfKey, linkOf } from "../state/resource_key.ts";
import { resourceText } from "../state/resource_text.ts";
import type { Link, Resource, ResourceKey } from "../state/resource.ts";
import type { Step } from "../state/step.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import {
  type EntryFailure,
  EntryTable,
  type KeyConflict,
  type TrackedEntry,
} from "./entry_table.ts";
import { ExternalLink } from "./external_link.ts";
import { RepairLimiter } from "./repair_limiter.ts";
import { EntryPlanner } from "./entry_planner.ts";
import { KernelCache } from "./kernel_cache.ts";
import { ResyncQueue, type ResyncScope } from "./resync_queue.ts";
import { Schedule } from "./schedule.ts";
import { type FailedStep, Failures, type ReconcilerStatus } from "./failures.ts";
import { WorkList } from "./work_list.ts";

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

/** Steps between two breaths of the event loop: some 10 ms of work. */
const CHUNK_ENTRIES = 2000;
const RESYNC_MS = 300_000;

const KINDS_ALWAYS_DUMPED = dumpedKinds(({ when }) => when === "always");
const KINDS_WITHOUT_DEVICES = dumpedKinds(({ when, extent }) =>
  when === "always" && extent === "table"
);

export class Reconciler implements AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #log: Log;
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #schedule: Schedule;

  readonly #table = new EntryTable((contest) => this.#onContest(contest));
  readonly #failures: Failures;
  readonly #repairLimiter: RepairLimiter;
  readonly #work: WorkList;
  readonly #resync: ResyncQueue;
  readonly #external: ExternalLink;
  readonly #planner: EntryPlanner;
  readonly #cache: KernelCache;

  readonly #contests = new Set<string>();
  #watch: Disposable | undefined;
  #pass: Promise<void> | undefined;
  #passFailures = 0;
  #isStopped = false;
  #settled: (() => void)[] = [];

  constructor(options: ReconcilerOptions) {
    const { kernel, log, clock = systemClock, resyncMs: everyMs = RESYNC_MS } = options;
    this.#options = options;
    this.#kernel = kernel;
    this.#log = log;
    this.#clock = clock;
    const onWork = () => this.#onWork();
    const table = this.#table;
    const troubles = this.#failures = new Failures({ clock, log });
    const work = this.#work = new WorkList({ clock, onWork });
    const readings = this.#resync = new ResyncQueue({ clock, log, everyMs, onWork });
    const external = this.#external = new ExternalLink({
      resync: readings,
      work,
      failures: troubles,
      onChanged: options.onExternalChanged,
    });
    const judge = this.#planner = new EntryPlanner({ table, external, resync: readings });
    this.#cache = new KernelCache({ clock, table, planner: judge, external, work, resync: readings, failures: troubles });
    this.#repairLimiter = new RepairLimiter(clock);
    this.#schedule = new Schedule({
      clock,
      mustDump: () => readings.isPending,
      start: () => this.#startPass(),
    });
  }

  /** Starts to watch the kernel and to work. */
  start(scope: ReconcilerScope): void {
    this.#watch = this.#kernel.watch((event) => this.#onEvent(event));
    this.setScope(scope);
  }

  /** Another external interface, or other networks: everything is read again. */
  setScope({ ownership, external }: ReconcilerScope): void {
    this.#planner.ownership = ownership;
    this.#external.rename(external);
    this.#resync.requestAll();
  }

  /**
   * Replaces all entries that `owner` (the node, or a lease) desires. Of two owners that desire
   * different things under one key, the one with the higher precedence stands. Costs as much as the
   * owner has entries.
   */
  setDesired(owner: string, resources: readonly Resource[], precedence = 0n): void {
    this.#table.setDesired(owner, resources, precedence, (entry) => {
      entry.hasDrifted = false;
      this.#failures.clear(entry);
      this.#work.add(entry);
    });
  }

  removeOwner(owner: string): void {
    this.setDesired(owner, []);
  }

  /** What is ours and desired by nobody may be deleted from now on: the desired state is complete. */
  allowSweep(): void {
    if (this.#planner.isDesiredComplete) return;
    this.#planner.isDesiredComplete = true;
    this.#lookAtUndesired();
    this.#onWork();
  }

  /** What is not as it should be although it could be tried. */
  status(): ReconcilerStatus {
    return this.#failures.status();
  }

  /** Resolves when all that can be done has been done; what fails or waits is in `status`. */
  whenSettled(): Promise<void> {
    if (this.#isStopped || this.#hasSettled()) return Promise.resolve();
    return new Promise((resolve) => this.#settled.push(resolve));
  }

  /** Stops after the batch that is under way and leaves the kernel's tables as they are. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    this.#watch?.[Symbol.dispose]();
    this.#schedule[Symbol.dispose]();
    await this.#pass;
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  // ---- When to work

  /** There is work; before the start it is only remembered. */
  #onWork(): void {
    if (this.#watch !== undefined && !this.#isStopped) this.#schedule.mark();
  }

  #onEvent(event: KernelEvent): void {
    if (!this.#isStopped) this.#cache.receive(event);
  }

  #startPass(): void {
    if (this.#pass !== undefined || this.#isStopped) return; // A pass that ends looks for more work.
    this.#pass = this.#runPass()
      .then(() => void (this.#passFailures = 0))
      .catch((error: unknown) => {
        this.#log.error({ err: error }, "the reconcile loop failed; it reads the kernel again");
        this.#resync.requestAllLater(++this.#passFailures);
      })
      .finally(() => {
        this.#pass = undefined;
        if (!this.#isStopped) this.#scheduleNext();
      });
  }

  #scheduleNext(): void {
    if (this.#hasSettled()) { for (const resolve of this.#settled.splice(0)) resolve(); }
    const { isPending, hasDumpedAll: hasReadAll, nextMs } = this.#resync;
    const hasWork = this.#work.size > 0 && hasReadAll && !isPending;
    this.#schedule.setNext(
      Math.min(hasWork ? this.#clock.nowMs() : nextMs, this.#failures.nextRetryMs),
    );
  }

  #hasSettled(): boolean {
    return this.#resync.hasDumpedAll && !this.#resync.isPending && this.#work.size === 0 &&
      this.#pass === undefined;
  }

  // ---- One pass

  async #runPass(): Promise<void> {
    const now = this.#clock.nowMs();
    const scope = this.#resync.due();
    if (scope !== undefined) await this.#readKernel(scope);
    if (!this.#resync.hasDumpedAll) return;
    for (const entry of this.#failures.entries()) {
      if ((entry.failure as EntryFailure).retryAtMs <= now) this.#work.addToPass(entry.key);
    }
    await this.#applyAll();
  }

  async #readKernel(scope: ResyncScope): Promise<void> {
    const { links: ours, extraKinds = [] } = this.#planner.ownership;
    const links = scope === "all" ? ours : new Set([...scope].filter((name) => ours.has(name)));
    this.#resync.begin(scope);
    this.#cache.beginDump();
    try {
      const kinds = links.size > 0 ? KINDS_ALWAYS_DUMPED : KINDS_WITHOUT_DEVICES;
      const resources = await this.#kernel.dump([...kinds, ...extraKinds], links);
      if (this.#cache.isDumpStale) return;
      const wasRead = (name: string) => scope === "all" || scope.has(name);
      this.#resync.load(wasRead, () => this.#cache.load(resources, links));
      if (scope === "all") await this.#readSysctls();
      this.#onRead(scope);
    } catch (error) {
      this.#resync.failed(scope, error as Error);
    } finally {
      this.#cache.endDump();
    }
  }

  async #readSysctls(): Promise<void> {
    const read = this.#options.readSysctl;
    if (read === undefined) return;
    for (const entry of [...this.#table.values()]) {
      const { desired } = entry;
      if (desired?.kind !== "sysctl") continue;
      const value = (await read(desired.path))?.trim();
      this.#cache.observe(entry, value === undefined ? undefined : { ...desired, value });
    }
  }

  #onRead(scope: ResyncScope): void {
    const wasTrusted = this.#resync.isVerified;
    this.#resync.succeeded(scope);
    if (scope !== "all") return;
    if (!wasTrusted && this.#planner.isDesiredComplete) this.#lookAtUndesired();
    this.#repairLimiter.forgetOld();
  }

  #lookAtUndesired(): void {
    for (const entry of this.#table.values()) {
      if (entry.desired === undefined) this.#work.add(entry);
    }
  }

  /** Devices first, then their addresses, then the many entries, a chunk at a time. */
  async #applyAll(): Promise<void> {
    for (const group of [0, 1, 2] as const) {
      const keys = [...this.#work.keys()].filter((key) => groupOf(key) === group);
      for (let start = 0; start < keys.length; start += CHUNK_ENTRIES) {
        if (this.#isStopped) return;
        if (start > 0) await this.#clock.yield();
        await this.#apply(keys.slice(start, start + CHUNK_ENTRIES));
      }
    }
  }

  async #apply(keys: readonly ResourceKey[]): Promise<void> {
    const keyOf = new Map<Step, ResourceKey>();
    const usable = new Map<string, boolean>();
    for (const key of keys) {
      if (!this.#work.take(key)) continue;
      const entry = this.#table.get(key);
      if (entry === undefined) continue;
      for (const step of this.#stepsFor(entry, usable)) keyOf.set(step, key);
    }
    if (keyOf.size === 0) return;
    const steps = orderSteps([...keyOf.keys()]);
    this.#cache.beginSteps(keyOf);
    const failed: FailedStep[] = [];
    try {
      const results = await this.#perform(steps, keyOf);
      for (const [i, step] of steps.entries()) {
        const entry = this.#table.at(keyOf.get(step) as ResourceKey);
        const error = results[i];
        if (error === undefined) this.#onApplied(entry, step);
        else failed.push({ entry, step, error });
      }
    } finally {
      this.#cache.endSteps();
    }
    this.#onFailed(failed);
  }

  /** Without an answer, nobody knows what was done: the entries stay on the list until it was read. */
  async #perform(
    steps: readonly Step[],
    keyOf: ReadonlyMap<Step, ResourceKey>,
  ): Promise<readonly StepResult[]> {
    try {
      return await this.#kernel.apply(steps);
    } catch (error) {
      for (const key of keyOf.values()) this.#work.addToPass(key);
      throw error;
    }
  }

  /** What to do about an entry now; nothing if it is in order, blocked, or somebody else's. */
  #stepsFor(entry: TrackedEntry, usable: Map<string, boolean>): readonly Step[] {
    const blocker = entry.desired && this.#planner.blockerOf(entry.desired, usable);
    if (blocker !== undefined) {
      this.#work.waitFor(blocker, entry.key);
      return [];
    }
    const decision = this.#planner.decide(entry);
    switch (decision.kind) {
      case "keep":
        entry.hasDrifted = false;
        this.#failures.clear(entry);
        this.#cache.release(entry);
        return [];
      case "conflict":
        this.#failures.addConflict(entry, decision.holder);
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

  /** Whether the entry is being fought over, so that it is not put right at once. */
  #isContended(entry: TrackedEntry): boolean {
    if (!entry.hasDrifted) return false;
    const { failure: trouble } = entry;
    const wait = trouble?.kind !== "contended"
      ? "none"
      : trouble.retryAtMs <= this.#clock.nowMs()
      ? "over"
      : "running";
    const delay = this.#repairLimiter.beforeRepair(entry.key, wait);
    if (delay !== undefined) this.#failures.addDamped(entry, delay);
    return delay !== undefined;
  }

  // ---- What became of a step

  #onApplied(entry: TrackedEntry, step: Step): void {
    this.#failures.clear(entry, "recovered");
    if (entry.hasDrifted) {
      entry.hasDrifted = false;
      this.#log.debug(`put back ${resourceText(step.resource)}`);
    }
    this.#cache.applied(entry, step);
  }

  #onFailed(failed: readonly FailedStep[]): void {
    const troubled: FailedStep[] = [];
    for (const one of failed) {
      const { entry, step, error } = one;
      this.#cache.refused(entry, step);
      const name = step.resource.kind === "link" ? step.resource.name : linkOf(step.resource);
      switch (error.errno) {
        case "EEXIST": // Somebody was faster: see who it is.
        case "ENODEV":
        case "ENXIO":
        case "ENETDOWN":
        case "EADDRNOTAVAIL":
          if (name !== undefined || error.errno === "EEXIST") this.#resync.request(name ?? "");
          break;
        case "EACCES": // IPv6 is disabled on the device by a sysctl, which causes no notification.
          this.#resync.requestAll();
          break;
      }
      if (entry.desired !== undefined || entry.actual !== undefined) troubled.push(one);
      else this.#cache.release(entry); // Nobody wants it any more.
    }
    this.#failures.addFailed(troubled);
  }

  #onContest({ winner, loser }: KeyConflict): void {
    const text = `${winner.owner} and ${loser.owner} want different things: ` +
      `${resourceText(winner.resource)} stands, ${resourceText(loser.resource)} does not`;
    if (this.#contests.has(text) || this.#contests.size >= 1000) return;
    this.#contests.add(text);
    this.#log.warn(text);
  }
}

/** Devices, then what they need, then the many entries on them. */
function groupOf(key: ResourceKey): 0 | 1 | 2 {
  const { stage } = kindOfKey(key);
  if (stage === STAGE.link) return 0;
  return stage <= STAGE.address ? 1 : 2;
}
