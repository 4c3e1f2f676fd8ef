/**
 * The port through which everything else sees the kernel's network tables. `NetlinkKernel` in this
 * folder implements it over libnl; tests implement it in memory.
 */

import { OperatorError } from "../base/operator_error.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Link, Resource, ResourceKind } from "../state/resource.ts";
import type { Step } from "../state/step.ts";

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
  watch(listener: (event: KernelEvent) => void): Disposable;

  /** What the kernel would do with a packet to this address: `ip route get`. */
  routeTo(address: IpAddress): Promise<RouteLookup>;

  /** One device by name, with its index; `undefined` if there is none. */
  link(name: string): Promise<LinkInfo | undefined>;
}

/** `undefined` is success. */
export type StepResult = KernelError | undefined;

/** The kernel refused an operation. */
export class KernelError extends OperatorError {
  override readonly name: string = "KernelError";
  /** Errno name as errno(3) spells it, such as `EEXIST`. */
  readonly code: string;
  /** The message without what was tried. */
  readonly reason: string;

  constructor(operation: string, code: string, extack?: string, options?: ErrorOptions) {
    const reason = `${code}${extack ? ` (${extack})` : ""}`;
    super(`cannot ${operation}: ${reason}`, options);
    this.code = code;
    this.reason = reason;
  }
}

/** The tables changed under every attempt to read them. */
export class DumpInterruptedError extends KernelError {
  override readonly name = "DumpInterruptedError";

  constructor(table: string, tries: number) {
    super(
      `read the ${table} table`,
      "EINTR",
      `it changed during each of ${tries} attempts to read it`,
    );
  }
}

export type KernelEvent =
  /** An entry was added or changed (`deleted` false) or removed. Links carry their new attributes. */
  | { readonly kind: "changed"; readonly resource: Resource; readonly deleted: boolean }
  /** Something happened that was not told in full: nothing known of the tables holds any more. */
  | { readonly kind: "overrun" };

export interface RouteLookup {
  /** Output device; absent when the destination is unreachable. */
  readonly link?: string;
  readonly ifindex?: number;
  readonly gateway?: IpAddress;
  /** Source address the kernel would choose. */
  readonly source?: IpAddress;
  /** The destination is an address of this host. */
  readonly local: boolean;
}

export interface LinkInfo {
  readonly ifindex: number;
  readonly link: Link;
}
