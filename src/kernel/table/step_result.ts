/** From the kernel's answer to a message to the result of the step that it was for. */

import { errnoName } from "../../../ffi/errno.ts";
import type { Step } from "../../state/step.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { describeStep } from "./entry_operation.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";

/** `undefined` is success. */
export type StepResult = KernelError | undefined;

/**
 * The result of a step whose message was refused, or was not. Deleting what is absent is success:
 * `absentErrnos` has the errno names that stand for it.
 */
export function resultOf(
  step: Step,
  refusal: NetlinkRefusal | undefined,
  absentErrnos: ReadonlySet<string> = NONE,
): StepResult {
  if (refusal === undefined) return undefined;
  const isAbsent = step.op === "delete" && absentErrnos.has(errnoName(refusal.errno));
  return isAbsent ? undefined : refused(describeStep(step), refusal);
}

const NONE: ReadonlySet<string> = new Set();

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
