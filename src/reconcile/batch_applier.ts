/** Applies the entries of the work list: plans steps, sends them in batches, handles results. */

import { assertNever } from "../base/assert_never.ts";
import type { Kernel, StepResult } from "../kernel/kernel.ts";
import { orderSteps } from "../state/plan.ts";
import { deviceOf, kindOfKey } from "../state/resource_key.ts";
import { type Link, type ResourceKey, STAGE } from "../state/resource.ts";
import { resourceText } from "../state/resource_text.ts";
import type { Step } from "../state/step.ts";
import { leaseFields, logRepair, traceBatch, traceResult } from "./change_trace.ts";
import type { TrackedEntry } from "./entry_table.ts";
import type { FailedStep } from "./failures.ts";
import type { ReconcilerParts } from "./reconciler_parts.ts";

/** Entries between two yields to the event loop: some 10 ms of work. */
const CHUNK_ENTRIES = 2000;

export class BatchApplier {
  readonly #parts: ReconcilerParts;
  readonly #kernel: Kernel;
  /** Number of the last batch, for the log. */
  #batch = 0;

  constructor(kernel: Kernel, parts: ReconcilerParts) {
    this.#kernel = kernel;
    this.#parts = parts;
  }

  /** Devices first, then their addresses, then the many entries, in chunks. */
  async applyAll(signal: AbortSignal): Promise<void> {
    const { clock, work } = this.#parts;
    for (const group of [0, 1, 2] as const) {
      if (work.size === 0) return;
      const keys = [...work.keys()].filter((key) => groupOf(key) === group);
      for (let start = 0; start < keys.length; start += CHUNK_ENTRIES) {
        if (signal.aborted) return;
        if (start > 0) await clock.yield();
        await this.#apply(keys.slice(start, start + CHUNK_ENTRIES));
      }
    }
  }

  async #apply(keys: readonly ResourceKey[]): Promise<void> {
    const { table, cache } = this.#parts;
    const keyOf = this.#planSteps(keys);
    if (keyOf.size === 0) return;
    const steps = orderSteps([...keyOf.keys()]);
    const batch = ++this.#batch;
    cache.beginSteps(keyOf);
    const failed: FailedStep[] = [];
    try {
      const results = await this.#send(batch, steps, keyOf);
      const isTraced = this.#parts.log.isLevelEnabled("trace");
      for (const [i, step] of steps.entries()) {
        const entry = table.at(keyOf.get(step) as ResourceKey);
        const error = results[i];
        if (isTraced) traceResult(this.#parts.log, batch, entry, step, error);
        if (error === undefined) this.#onApplied(entry, step);
        else failed.push({ entry, step, error });
      }
    } finally {
      cache.endSteps();
    }
    this.#onFailed(failed);
  }

  #planSteps(keys: readonly ResourceKey[]): ReadonlyMap<Step, ResourceKey> {
    const { table, work } = this.#parts;
    const keyOf = new Map<Step, ResourceKey>();
    const usable = new Map<string, boolean>();
    for (const key of keys) {
      if (!work.take(key)) continue;
      const entry = table.get(key);
      if (entry === undefined) continue;
      for (const step of this.#stepsFor(entry, usable)) keyOf.set(step, key);
    }
    return keyOf;
  }

  /** Without a response, the outcome is unknown: the entries stay on the list until a dump. */
  async #send(
    batch: number,
    steps: readonly Step[],
    keyOf: ReadonlyMap<Step, ResourceKey>,
  ): Promise<readonly StepResult[]> {
    const { log, work } = this.#parts;
    traceBatch(log, batch, steps);
    try {
      return await this.#kernel.apply(steps);
    } catch (error) {
      for (const key of keyOf.values()) work.addToPass(key);
      throw error;
    }
  }

  /** The steps for an entry now; none if it is in sync, blocked, damped, or in conflict. */
  #stepsFor(entry: TrackedEntry, usable: Map<string, boolean>): readonly Step[] {
    const { planner, work, failures, cache, log } = this.#parts;
    const blocker = entry.desired && planner.blockerOf(entry.desired, usable);
    if (blocker !== undefined) {
      work.waitFor(blocker, entry.key);
      return [];
    }
    const decision = planner.decide(entry);
    switch (decision.kind) {
      case "keep":
        entry.hasDrifted = false;
        failures.clear(entry);
        cache.release(entry);
        return [];
      case "conflict":
        failures.addConflict(entry, decision.holder);
        return [];
      case "recreate":
        log.warn(
          leaseFields(entry, entry.desired),
          `recreating device ${(entry.desired as Link).name}: ${decision.reason}`,
        );
        return this.#isDamped(entry) ? [] : decision.steps;
      case "act":
        return this.#isDamped(entry) ? [] : decision.steps;
      default:
        return assertNever(decision);
    }
  }

  /** Whether the repair of the entry is delayed because another program keeps modifying it. */
  #isDamped(entry: TrackedEntry): boolean {
    if (!entry.hasDrifted) return false;
    const { failures, repairLimiter } = this.#parts;
    const delay = repairLimiter.delayOf(entry.key);
    if (delay === undefined) repairLimiter.repaired(entry.key);
    else failures.addDamped(entry, delay);
    return delay !== undefined;
  }

  #onApplied(entry: TrackedEntry, step: Step): void {
    const { failures, cache, log, repairs } = this.#parts;
    failures.clearRecovered(entry);
    if (entry.hasDrifted) {
      entry.hasDrifted = false;
      logRepair(log, entry, step);
      const { op, resource } = step;
      repairs?.add(op === "delete" ? "removed" : "restored", () => resourceText(resource));
    }
    cache.applied(entry, step);
  }

  #onFailed(failed: readonly FailedStep[]): void {
    const { cache, resync, failures } = this.#parts;
    const relevant: FailedStep[] = [];
    for (const one of failed) {
      const { entry, step, error } = one;
      cache.refused(entry, step);
      const name = deviceOf(step.resource);
      switch (error.errno) {
        case "EEXIST": // Another program was faster: the dump shows its entry.
        case "ENODEV":
        case "ENXIO":
        case "ENETDOWN":
        case "EADDRNOTAVAIL":
          if (name !== undefined || error.errno === "EEXIST") resync.request(name ?? "");
          break;
        case "EACCES": // IPv6 is disabled on the device by a sysctl, which causes no notification.
          resync.requestAll();
          break;
      }
      if (entry.desired !== undefined || entry.actual !== undefined) relevant.push(one);
      else cache.release(entry); // Nothing desires it any more.
    }
    failures.addFailed(relevant);
  }
}

/** Devices, then what they need, then the many entries on them. */
function groupOf(key: ResourceKey): 0 | 1 | 2 {
  const { stage } = kindOfKey(key);
  if (stage === STAGE.link) return 0;
  return stage <= STAGE.address ? 1 : 2;
}
