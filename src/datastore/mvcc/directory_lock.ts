/**
 * The lock of a data directory. One process at a time holds it, even if several start together.
 *
 * It is SQLite's RESERVED lock (https://sqlite.org/lockingv3.html) on a separate empty file: a lock
 * of one byte, which the kernel grants to one process and releases when that process ends in any
 * way. A lock on the database itself would not work: processes that open it together first share
 * it, then each waits for the others to release it, and all may give up.
 */

import { Database } from "bun:sqlite";
import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatastoreError } from "./datastore_error.ts";

/**
 * Locks an existing directory, until the result is disposed. Throws `DatastoreError` if another
 * process holds the lock, and errors of the system and of SQLite.
 */
export function lockDirectory(directory: string): Disposable {
  // The file is never removed: otherwise two processes could each lock a file of this name.
  const file = join(directory, "datastore.lock");
  createEmpty(file);
  const database = new Database(file, { readwrite: true });
  try {
    database.run("PRAGMA journal_mode = MEMORY");
    database.run("BEGIN IMMEDIATE");
    return database;
  } catch (error) {
    database.close();
    const { code = "" } = error as { code?: string };
    if (!code.startsWith("SQLITE_BUSY")) throw error;
    throw new DatastoreError(
      `${directory} is in use by ${lockHolder(file)}; stop it or choose another --data-dir`,
    );
  }
}

/** Only if it does not exist: closing a file releases all locks of the process on it (fcntl(2)). */
function createEmpty(file: string): void {
  try {
    closeSync(openSync(file, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** SQLite's RESERVED_BYTE. */
const RESERVED_BYTE = 0x4000_0001;

/**
 * The process that holds the lock, from /proc/locks (proc_locks(5)). Its number is unknown if it
 * runs in another container, and on file systems that have two numbers for a device.
 */
function lockHolder(file: string): string {
  const { dev, ino } = statSync(file, { bigint: true });
  const place = `${hex(major(dev))}:${hex(minor(dev))}:${ino} ${RESERVED_BYTE} ${RESERVED_BYTE}`;
  const pattern = new RegExp(String.raw`POSIX +ADVISORY +WRITE (\d+) ${place}$`, "m");
  const [, pid] = pattern.exec(readFileSync("/proc/locks", "utf8")) ?? [];
  return pid === undefined ? "another process" : `process ${pid}`;
}

const hex = (value: bigint) => value.toString(16).padStart(2, "0");
/** gnu_dev_major and gnu_dev_minor of makedev(3). */
const major = (dev: bigint) => ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
const minor = (dev: bigint) => (dev & 0xffn) | ((dev >> 12n) & ~0xffn & 0xffff_ffffn);
