/** The pid file of charon, strongSwan's IKE daemon. Its path is compiled into charon. */

import { readRegularText } from "../base/regular_file.ts";
import { commandOf } from "./proc_files.ts";

export const CHARON_PID_FILE = "/var/run/charon.pid";

export interface PidFileHolder {
  readonly pid: number;
  /** The kernel may have given the number of a charon that has ended to another program. */
  readonly isCharon: boolean;
}

/** The process that the file names; `undefined` if there is no such file or process. */
export function charonPidFileHolder(): PidFileHolder | undefined {
  try {
    const pid = Number(readRegularText(CHARON_PID_FILE, MAX_BYTES));
    const command = commandOf(pid);
    return command === undefined ? undefined : { pid, isCharon: command === "charon" };
  } catch {
    return undefined;
  }
}

const MAX_BYTES = 64;
