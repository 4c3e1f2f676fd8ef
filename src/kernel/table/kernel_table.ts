/**
 * Kernel tables with a protocol of their own beside rtnetlink's: generic netlink families, the IPsec
 * database, the TUN driver. Each is opened when it is first needed, and `NetlinkKernel` shows all of
 * them as one kernel.
 */

import type { Resource, ResourceKind } from "../../state/resource.ts";
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

/** A kind of table and how to open it. */
export interface KernelTableType {
  readonly kinds: readonly ResourceKind[];
  /** Whether this step is for it: entries of its kinds, and the making of certain devices. */
  takes(step: Step): boolean;
  open(): KernelTable;
}
