/**
 * The port through which everything else sees the kernel's network tables. `NetlinkKernel` in this
 * folder implements it over libnl; tests implement it in memory.
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
   * table. A dump that the kernel marks as interrupted (NLM_F_DUMP_INTR) is read again; after
   * several tries it throws `DumpInterruptedError` and returns nothing.
   *
   * `links` limits addresses, neighbours and FDB entries to these devices (routes are not limited).
   * WireGuard devices and their peers are only read of devices that it names.
   */
  dump(kinds: readonly ResourceKind[], links?: ReadonlySet<string>): Promise<Resource[]>;

  /**
   * Performs the steps in order, batched; a failed step does not stop the others. One result per
   * step, in order, after the kernel has answered it.
   */
  apply(steps: readonly Step[]): Promise<StepResult[]>;

  /**
   * Calls `listener` for each notification until disposed. A slow reader loses notifications: then
   * it gets `overrun` and must dump again. A second listener may first hear of changes from before
   * it came. Of a removed entry only the fields of its key count.
   *
   * Some changes are not announced one by one: with a device that goes down or away, or with the
   * last IPv4 address, the kernel drops IPv4 routes silently; after such an event read them again.
   */
  watch(listener: KernelListener): Disposable;

  /** What the kernel would do with a packet to this address: `ip route get`. */
  routeTo(address: IpAddress): Promise<RouteLookup>;

  /** One device by name, with its index; `undefined` if there is none. */
  link(name: string): Promise<LinkInfo | undefined>;
}

export interface LinkInfo {
  readonly ifindex: number;
  readonly link: Link;
}
