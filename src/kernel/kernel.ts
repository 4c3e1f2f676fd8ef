/**
 * The port to the kernel's network tables. `NetlinkKernel` implements it over netlink; tests
 * implement it in memory.
 */

import type { IpAddress } from "../addr/ip.ts";
import type { Link, Resource, ResourceKind } from "../state/resource.ts";
import type { Step } from "../state/step.ts";
import type { RouteLookup } from "./rtnetlink/route_lookup.ts";
import type { KernelListener } from "./table/kernel_event.ts";
import type { StepResult } from "./table/step_result.ts";

export type { RouteLookup } from "./rtnetlink/route_lookup.ts";
export type { KernelEvent, KernelListener } from "./table/kernel_event.ts";
export type { StepResult } from "./table/step_result.ts";
export { DumpInterruptedError, KernelError } from "./wire/kernel_error.ts";

export interface Kernel extends Disposable {
  /**
   * All entries of these kinds in this network namespace, ours or not: links of every type,
   * addresses, permanent neighbours, permanent FDB entries of vxlan devices, routes of the main
   * table. A dump that the kernel marks as interrupted (NLM_F_DUMP_INTR) is repeated; after several
   * attempts this throws `DumpInterruptedError`.
   *
   * `links` limits addresses, neighbours and FDB entries to these devices; routes are not limited.
   * WireGuard devices and their peers are read only of devices in `links`.
   */
  dump(kinds: readonly ResourceKind[], links?: ReadonlySet<string>): Promise<Resource[]>;

  /**
   * Performs the steps in order, in batches; a failed step does not stop the others. The results
   * are those of the kernel, one for each step, in order.
   */
  apply(steps: readonly Step[]): Promise<StepResult[]>;

  /**
   * Calls `listener` for each change until disposed. A slow reader loses notifications: it gets an
   * `overrun` and must dump again. An additional listener may first get changes from before it was
   * added. Of a removed entry only the fields of its key are valid.
   *
   * The kernel does not announce everything: when a device goes down or is deleted, or loses its
   * last IPv4 address, it deletes IPv4 routes silently. After such an event, dump them again.
   */
  watch(listener: KernelListener): Disposable;

  /** Looks up the route to an address: `ip route get`. */
  routeTo(address: IpAddress): Promise<RouteLookup>;

  /** One device by name, with its index; `undefined` if there is none. */
  link(name: string): Promise<LinkInfo | undefined>;
}

export interface LinkInfo {
  readonly ifindex: number;
  readonly link: Link;
}
