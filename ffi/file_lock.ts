/** Locks of files, which the kernel releases when the process ends: flock(2). */

import { errnoName } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import * as k from "./linux.ts";

/**
 * Takes the exclusive lock of an open file, until the descriptor is closed; `false` if another
 * descriptor holds it. Throws an `Error` with the errno's name if the file system has no locks.
 */
export function tryLockFile(descriptor: number): boolean {
  if (libc().flock(descriptor, k.LOCK_EX | k.LOCK_NB) === 0) return true;
  const name = errnoName(errno());
  if (name === "EAGAIN") return false;
  throw new Error(`cannot lock the file: ${name}`);
}
