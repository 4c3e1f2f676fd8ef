/**
 * Kernel tables with a protocol of their own beside rtnetlink's: generic netlink families, the IPsec
 * database, the TUN driver. Each is opened when it is first needed, and `NetlinkKernel` shows all of
 * them as one kernel.
 */

import type { Clock } from "../../base/clock.ts";
import type { Link, Resource, ResourceKind } from "../../state/resource.ts";
import type { Step } from "../../state/step.ts";
import type { KernelEvent } from "./kernel_event.ts";
import type { StepResult } from "./step_result.ts";

export interface KernelTable extends Disposable {
  /**
   * All entries, ours or not; those on devices limited to `links`. Throws `KernelError`. A kernel
   * without this table holds nothing; whoever wants an entry learns it from `apply`.
   */
  dump(links: ReadonlySet<string>): Promise<Resource[]>;
  /** Performs the steps in order; one result per step. A failed step does not stop the others. */
  apply(steps: readonly Step[]): Promise<readonly StepResult[]>;
  /**
   * Tells of changes until disposed. Where the kernel does not announce them, the table is read every
   * few seconds and compared with what it was.
   */
  watch(listener: (event: KernelEvent) => void): Disposable;
}

/** A kind of table, and how to open it. */
export interface KernelTableType {
  /** Kinds of the entries that it holds. */
  readonly kinds: readonly ResourceKind[];
  /** Whether it makes this device, which rtnetlink cannot. */
  makes?(link: Link): boolean;
  open(clock: Clock): KernelTable;
}

/** A table that is written but never read here: nothing in it is dumped or announced. */
export function writeOnlyTable(perform: (step: Step) => StepResult): KernelTable {
  return {
    dump: () => Promise.resolve([]),
    apply: (steps) => Promise.resolve(steps.map(perform)),
    watch: () => ({ [Symbol.dispose]: () => {} }),
    [Symbol.dispose]: () => {},
  };
}
