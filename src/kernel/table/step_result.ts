/** From the kernel's response to a message to the result of its step. */

import { errnoName } from "../../../ffi/errno.ts";
import type { Step } from "../../state/step.ts";
import { KernelError } from "../wire/kernel_error.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";
import { describeStep } from "./entry_operation.ts";

/** `undefined` is success. */
export type StepResult = KernelError | undefined;

/**
 * The result of a step, given the refusal of its message, if any. Deleting an absent entry is
 * success: `absentErrnos` are the errno names with which the kernel refuses that.
 */
export function resultOf(
  step: Step,
  refusal: NetlinkRefusal | undefined,
  absentErrnos: ReadonlySet<string> = NONE,
): StepResult {
  if (refusal === undefined) return undefined;
  const isAbsent = step.op === "delete" && absentErrnos.has(errnoName(refusal.errno));
  return isAbsent ? undefined : refusalError(describeStep(step), refusal);
}

const NONE: ReadonlySet<string> = new Set();

/** The result if there is no device of this name: an entry is deleted with its device. */
export function withoutDevice(step: Step, link: string): StepResult {
  if (step.op === "delete") return undefined;
  return new KernelError({
    operation: describeStep(step),
    errno: "ENODEV",
    extack: `there is no device ${link}`,
  });
}

/** A refused operation as an error. */
export function refusalError(operation: string, refusal: NetlinkRefusal): KernelError {
  return new KernelError({ operation, errno: refusal.errno, extack: refusal.extack });
}
