/**
 * Creates persistent TUN devices, which only the ioctls of the TUN driver can (linux/if_tun.h).
 * rtnetlink reads, changes and deletes them like other devices.
 */

import { createPersistentTun, SystemError } from "../../ffi/tun_device.ts";
import type { Step } from "../state/step.ts";
import { describeStep } from "./table/entry_operation.ts";
import { type KernelTableType, writeOnlyTable } from "./table/kernel_table.ts";
import type { StepResult } from "./table/step_result.ts";
import { KernelError } from "./wire/kernel_error.ts";

export const TUN_DEVICES: KernelTableType = {
  kinds: [],
  creates: ({ type }) => type === "tun",
  open: () => writeOnlyTable(create),
};

function create(step: Step): StepResult {
  const { resource } = step;
  if (resource.kind !== "link") throw new TypeError(`${resource.kind} is not a device`);
  const what = describeStep(step);
  try {
    createPersistentTun(resource);
    return undefined;
  } catch (error) {
    if (error instanceof SystemError) {
      return new KernelError({ operation: what, errno: error.errno });
    }
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    const hint = code === "ENOENT" || code === "ENODEV"
      ? `${message}; load the kernel module: modprobe tun`
      : message;
    return new KernelError({ operation: what, errno: code, extack: hint, cause: error });
  }
}
