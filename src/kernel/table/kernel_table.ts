/**
 * Kernel tables that rtnetlink does not hold: generic netlink families, the IPsec database, the TUN
 * driver, /proc/sys. Each is opened on first use; `NetlinkKernel` presents them and rtnetlink as
 * one kernel.
 */

import type { Clock } from "../../base/clock.ts";
import type { Link, Resource, ResourceKind } from "../../state/resource.ts";
import type { Step } from "../../state/step.ts";
import type { KernelListener } from "./kernel_event.ts";
import type { StepResult } from "./step_result.ts";

export interface KernelTable extends Disposable {
  /**
   * All entries, ours or not; of entries on devices, only those on `links`. Empty if the kernel
   * does not have this table: `apply` reports that. Throws `KernelError`.
   */
  dump(links: ReadonlySet<string>): Promise<Resource[]>;
  /** Performs the steps in order; one result for each. A failed step does not stop the others. */
  apply(steps: readonly Step[]): Promise<readonly StepResult[]>;
  /**
   * Notifies of changes until disposed. If the kernel does not announce changes, the table is read
   * every few seconds and compared with the previous reading.
   */
  watch(listener: KernelListener): Disposable;
}

/** What a table holds, and how to open it. */
export interface KernelTableType {
  /** Kinds of the entries that it holds. */
  readonly kinds: readonly ResourceKind[];
  /** Whether this table, not rtnetlink, creates this device. */
  creates?(link: Link): boolean;
  open(clock: Clock): KernelTable;
}

/** A table that is written, but never dumped or watched. */
export function writeOnlyTable(perform: (step: Step) => StepResult): KernelTable {
  return {
    dump: () => Promise.resolve([]),
    apply: (steps) => Promise.resolve(steps.map(perform)),
    watch: () => ({ [Symbol.dispose]: () => {} }),
    [Symbol.dispose]: () => {},
  };
}
