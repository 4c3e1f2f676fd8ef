/** What a step asks of the kernel, in its terms and in words. */

import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../../../ffi/linux.ts";
import { resourceText } from "../../state/resource_text.ts";
import type { Step } from "../../state/step.ts";

/** "create" is refused where the key is held, "set" replaces. */
export type EntryOperation = "set" | "create" | "delete";

export function operationOf(step: Step): EntryOperation {
  if (step.op === "delete") return "delete";
  return step.op === "set" && step.exclusive === true ? "create" : "set";
}

/** NLM_F_* of a message that makes an entry. */
export function makingFlags(operation: "set" | "create"): number {
  return NLM_F_CREATE | (operation === "create" ? NLM_F_EXCL : NLM_F_REPLACE);
}

/** For the message of an error. */
export function describeStep(step: Step): string {
  return `${step.op} ${resourceText(step.resource)}`;
}
