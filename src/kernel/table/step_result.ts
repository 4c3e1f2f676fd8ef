/** From the kernel's answer to a message to the result of the step that it was for. */

import { errnoName } from "../../../ffi/errno.ts";
import type { ResourceKind } from "../../state/resource.ts";
import type { Step } from "../../state/step.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { describeStep } from "./entry_operation.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";

/** `undefined` is success. */
export type StepResult = KernelError | undefined;

/** Deleting what is absent is success. */
export function resultOf(step: Step, refusal: NetlinkRefusal | undefined): StepResult {
  if (refusal === undefined) return undefined;
  const isAbsent = step.op === "delete" &&
    ABSENT[step.resource.kind]?.has(errnoName(refusal.errno)) === true;
  return isAbsent ? undefined : refused(describeStep(step), refusal);
}

/** The result where there is no device of this name: with its device, an entry is gone too. */
export function withoutDevice(step: Step, link: string): StepResult {
  if (step.op === "delete") return undefined;
  return new KernelError({
    operation: describeStep(step),
    errno: "ENODEV",
    extack: `there is no device ${link}`,
  });
}

/** A refused operation as an error. */
export function refused(operation: string, refusal: NetlinkRefusal): KernelError {
  return new KernelError({ operation, errno: refusal.errno, extack: refusal.extack });
}

/** What deleting an absent entry is refused with. */
const ABSENT: Readonly<Partial<Record<ResourceKind, ReadonlySet<string>>>> = {
  link: new Set(["ENODEV"]),
  // ENXIO: the device has no IPv6 any more, as when its MTU is below 1280 (inet6_addr_del).
  address: new Set(["EADDRNOTAVAIL", "ENODEV", "ENXIO"]),
  neighbour: new Set(["ENOENT", "ENODEV"]),
  fdb: new Set(["ENOENT", "ENODEV"]),
  route: new Set(["ESRCH", "ENODEV"]),
  "xfrm-policy": new Set(["ENOENT"]),
};
