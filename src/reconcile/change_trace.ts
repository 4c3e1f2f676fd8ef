/**
 * The log lines by which an operator follows a lease to its batch and the kernel's acknowledgement.
 * docs/troubleshooting.md documents the fields. Nothing is computed while the level is off.
 */

import type { StepResult } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import { deviceOf } from "../state/resource_key.ts";
import type { Resource } from "../state/resource.ts";
import { resourceText } from "../state/resource_text.ts";
import type { Step } from "../state/step.ts";
import type { TrackedEntry } from "./entry_table.ts";

/** An owner's desired entries, as the reconciler received them. */
export interface OwnerChange {
  readonly owner: string;
  readonly precedence: bigint;
  readonly entries: number;
}

/** The precedence of a lease's entries is its revision; other owners have none. */
export function traceDesired(log: Log, { owner, precedence, entries }: OwnerChange): void {
  const revision = precedence > 0n ? { revision: Number(precedence) } : {};
  log.trace({ lease: owner, ...revision, entries }, "desired entries changed");
}

export function traceBatch(log: Log, batch: number, steps: readonly Step[]): void {
  log.trace({ batch, steps: steps.length }, "batch sent");
}

/** The kernel's response to one step of a batch. */
export function traceResult(
  log: Log,
  batch: number,
  entry: TrackedEntry,
  { op, resource }: Step,
  result: StepResult,
): void {
  const fields = { batch, op, ...leaseFields(entry, resource), entry: resourceText(resource) };
  if (result === undefined) log.trace(fields, "entry acknowledged");
  else log.trace({ ...fields, errno: result.errno }, "entry refused");
}

/** An entry that another program had changed was restored, or was deleted again. */
export function logRepair(log: Log, entry: TrackedEntry, { resource }: Step): void {
  if (!log.isLevelEnabled("debug")) return;
  log.debug(leaseFields(entry, resource), `repaired: ${resourceText(resource)}`);
}

/** An entry's owner and device, as fields. An entry that was never desired has no owner. */
export function leaseFields(
  { owner }: TrackedEntry,
  resource: Resource | undefined,
): { readonly lease?: string; readonly device?: string } {
  const device = resource && deviceOf(resource);
  return {
    ...(owner === undefined ? {} : { lease: owner }),
    ...(device === undefined ? {} : { device }),
  };
}
