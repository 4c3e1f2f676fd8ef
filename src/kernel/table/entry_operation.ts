/** A step as an operation of the kernel, and as text. */

import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../../../ffi/linux.ts";
import { resourceText } from "../../state/resource_text.ts";
import type { Step } from "../../state/step.ts";

/** "create" fails if an entry with this key exists; "set" replaces it. */
export type EntryOperation = "set" | "create" | "delete";

export function operationOf(step: Step): EntryOperation {
  if (step.op === "delete") return "delete";
  return step.op === "set" && step.exclusive === true ? "create" : "set";
}

/** NLM_F_* of a message that creates an entry. */
export function creationFlags(operation: "set" | "create"): number {
  return NLM_F_CREATE | (operation === "create" ? NLM_F_EXCL : NLM_F_REPLACE);
}

/** The operation as it follows "cannot" in an error: `set route 10.5.2.0/24 …`. */
export function describeStep(step: Step): string {
  return `${step.op} ${resourceText(step.resource)}`;
}
