/** What a step asks of the kernel, in its terms and in words. */

import { resourceText } from "../state/resource_text.ts";
import type { Step } from "../state/step.ts";

/** "create" is refused where the key is held, "set" replaces. */
export type Operation = "set" | "create" | "delete";

export function operationOf(step: Step): Operation {
  if (step.op === "delete") return "delete";
  return step.op === "set" && step.exclusive === true ? "create" : "set";
}

/** For the message of an error. */
export function describeStep(step: Step): string {
  return `${step.op} ${resourceText(step.resource)}`;
}
