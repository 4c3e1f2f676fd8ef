/**
 * The loop that keeps the kernel in its desired state. Nothing else changes the kernel's tables.
 *
 * Other parts set what they desire (`setDesired`) and continue. A pass looks only at entries that
 * need it, because the desired entry or the one in the kernel changed. So a change to one entry
 * costs one message and no dump, and a pass without changes costs nothing.
 */

import type { Log } from "../log/log.ts";
import type { Kernel, KernelEvent } from "../kernel/kernel.ts";
import type { SourceRow } from "../state/entry_source.ts";
import type { Ownership } from "../state/ownership.ts";
import type { Resource } from "../state/resource.ts";
import type { Clock } from "../base/clock.ts";
import type { RepairHistory } from "../base/repair_history.ts";
import { BatchApplier } from "./batch_applier.ts";
import { traceDesired } from "./change_trace.ts";
import { DumpLoader } from "./dump_loader.ts";
import type { EntryFailure, TrackedEntry } from "./entry_table.ts";
import type { ReconcilerStatus } from "./failures.ts";
import { connectParts, type ReconcilerParts } from "./reconciler_parts.ts";
import { Schedule } from "./schedule.ts";

export type { EntryProblem, ReconcilerStatus } from "./failures.ts";

export interface ReconcilerOptions {
  readonly kernel: Kernel;
  readonly log: Log;
  readonly clock: Clock;
  /** The external interface was deleted, created, set up or down, or got another MTU or address. */
  readonly onExternalChanged?: (reason: string) => void;
  /**
   * Reads a file below /proc/sys; `undefined` if it is absent. Without it, sysctls are set once.
   */
  readonly readSysctl?: (path: string) => Promise<string | undefined>;
  /**
   * Interval between full dumps, plus or minus a tenth. They find the changes that caused no
   * notification. The default is five minutes.
   */
  readonly resyncMs?: number;
  /** Where repairs are recorded. */
  readonly repairs?: RepairHistory | undefined;
}

/** Which entries are this daemon's, and the interface that carries its packets. */
export interface ReconcilerScope {
  readonly ownership: Ownership;
  readonly external: string | undefined;
}

const RESYNC_MS = 300_000;

export class Reconciler implements AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #parts: ReconcilerParts;
  readonly #loader: DumpLoader;
  readonly #applier: BatchApplier;
  readonly #schedule: Schedule;
  readonly #stop = new AbortController();
  #watch: Disposable | undefined;
  #pass: Promise<void> | undefined;
  #failedPasses = 0;
  #settled: (() => void)[] = [];

  constructor(options: ReconcilerOptions) {
    const { kernel, log, clock, resyncMs = RESYNC_MS, readSysctl, onExternalChanged } = options;
    const { repairs } = options;
    const onWork = () => this.#onWork();
    this.#kernel = kernel;
    this.#parts = connectParts({
      clock,
      log,
      resyncMs,
      onWork,
      onExternalChanged,
      repairs,
    });
    this.#loader = new DumpLoader({ kernel, readSysctl }, this.#parts);
    this.#applier = new BatchApplier(kernel, this.#parts);
    this.#schedule = new Schedule({
      clock,
      mustDump: () => this.#parts.resync.isPending,
      start: () => this.#startPass(),
    });
  }

  /** Starts to watch the kernel and to work. */
  start(scope: ReconcilerScope): void {
    this.#watch = this.#kernel.watch((event) => this.#onEvent(event));
    this.setScope(scope);
  }

  /** Another external interface, or other networks: everything is dumped again. */
  setScope({ ownership, external }: ReconcilerScope): void {
    this.#parts.planner.ownership = ownership;
    this.#parts.external.setName(external);
    this.#parts.resync.requestAll();
  }

  /**
   * Replaces all entries that `owner` (the node, or a lease) desires. If two owners desire
   * different entries with one key, the one with the higher precedence wins. The cost depends only
   * on the number of the owner's entries. With a source, which computes the same entries, those
   * that the kernel holds take no memory.
   */
  setDesired(
    owner: string,
    resources: readonly Resource[],
    precedence = 0n,
    source?: SourceRow,
  ): void {
    const { table, failures, work, log } = this.#parts;
    if (log.isLevelEnabled("trace")) {
      traceDesired(log, { owner, precedence, entries: resources.length });
    }
    const onChanged = (entry: TrackedEntry) => {
      entry.hasDrifted = false;
      failures.clear(entry);
      work.add(entry);
    };
    table.setDesired(owner, resources, precedence, onChanged, source);
  }

  removeOwner(owner: string): void {
    this.setDesired(owner, []);
  }

  /** The desired state is complete: from now on, other entries of ours may be deleted. */
  allowSweep(): void {
    const { planner } = this.#parts;
    if (planner.isDesiredComplete) return;
    planner.isDesiredComplete = true;
    this.#loader.checkUndesired();
    this.#onWork();
  }

  /** The entries that are out of sync although nothing blocks them. */
  status(): ReconcilerStatus {
    return this.#parts.failures.status();
  }

  /** Resolves when everything possible has been applied; `status` has what failed. */
  whenSettled(): Promise<void> {
    if (this.#isStopped || this.#hasSettled()) return Promise.resolve();
    return new Promise((resolve) => this.#settled.push(resolve));
  }

  /** Stops after the batch in flight and leaves the kernel's tables unchanged. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#watch?.[Symbol.dispose]();
    this.#schedule[Symbol.dispose]();
    await this.#pass;
    this.#resolveSettled();
  }

  get #isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** There is work; before the start it is only recorded. */
  #onWork(): void {
    if (this.#watch !== undefined && !this.#isStopped) this.#schedule.mark();
  }

  #onEvent(event: KernelEvent): void {
    if (!this.#isStopped) this.#parts.cache.receive(event);
  }

  #startPass(): void {
    // The end of a pass schedules the next one.
    if (this.#pass !== undefined || this.#isStopped) return;
    this.#pass = this.#completePass();
  }

  /** Never rejects. */
  async #completePass(): Promise<void> {
    try {
      await this.#runPass();
      this.#failedPasses = 0;
    } catch (error) {
      const { log, resync } = this.#parts;
      log.error({ err: error }, "reconcile pass failed; reading the kernel tables again");
      resync.requestAllLater(++this.#failedPasses);
    }
    this.#pass = undefined;
    if (!this.#isStopped) this.#scheduleNext();
  }

  async #runPass(): Promise<void> {
    const { clock, resync, failures, work } = this.#parts;
    const now = clock.nowMs();
    const scope = resync.due();
    if (scope !== undefined) await this.#loader.load(scope);
    if (!resync.hasDumpedAll) return;
    for (const entry of failures.entries()) {
      if ((entry.failure as EntryFailure).retryAtMs <= now) work.addToPass(entry.key);
    }
    await this.#applier.applyAll(this.#stop.signal);
  }

  #scheduleNext(): void {
    if (this.#hasSettled()) this.#resolveSettled();
    const { clock, resync, failures, work } = this.#parts;
    const hasWork = work.size > 0 && resync.hasDumpedAll && !resync.isPending;
    this.#schedule.setNext(
      Math.min(hasWork ? clock.nowMs() : resync.nextMs, failures.nextRetryMs),
    );
  }

  #hasSettled(): boolean {
    const { resync, work } = this.#parts;
    return resync.hasDumpedAll && !resync.isPending && work.size === 0 && this.#pass === undefined;
  }

  #resolveSettled(): void {
    for (const resolve of this.#settled.splice(0)) resolve();
  }
}
