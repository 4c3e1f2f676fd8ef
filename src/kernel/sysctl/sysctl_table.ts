/** Kernel parameters as entries. They are set, but neither dumped nor watched. */

import type { Step } from "../../state/step.ts";
import { type KernelTableType, writeOnlyTable } from "../table/kernel_table.ts";
import type { StepResult } from "../table/step_result.ts";
import { writeSysctl } from "./proc_sys.ts";

export const SYSCTL_TABLE: KernelTableType = {
  kinds: ["sysctl"],
  open: () => writeOnlyTable(perform),
};

/** A parameter cannot be deleted; it disappears with its device. */
function perform({ op, resource }: Step): StepResult {
  if (resource.kind !== "sysctl") throw new TypeError(`${resource.kind} is not a sysctl`);
  if (op === "delete") return undefined;
  const error = writeSysctl(resource);
  return resource.isPrecaution && error?.errno === "EROFS" ? undefined : error;
}
