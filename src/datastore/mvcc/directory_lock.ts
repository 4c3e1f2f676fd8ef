/**
 * The lock of a data directory, which one process at a time holds, however many begin at once.
 *
 * It is SQLite's RESERVED lock (https://sqlite.org/lockingv3.html) on an empty file of its own: one
 * byte, which the kernel gives to one process and takes back when that ends, however it ends. The
 * data's own file cannot decide this. Processes that open it together share it first, and then each
 * waits for the others to let go: all of them may give up.
 */

import { Database } from "bun:sqlite";
import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatastoreError } from "./datastore_error.ts";

/**
 * Takes the lock of a directory, which has to exist, until it is disposed. Throws `DatastoreError`
 * when another process has it, and what the system or SQLite throws.
 */
export function lockDirectory(directory: string): Disposable {
  // The file stays: were it removed, two processes could each lock one of its name.
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
      `${directory} is in use by ${lockHolder(file)}; one datastore serves one --data-dir`,
    );
  }
}

/** Only when it is absent: to close a file ends all locks that a process has on it (fcntl(2)). */
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
 * The process that has the lock, as /proc/locks (proc_locks(5)) has it. There is no number for a
 * process of another container, and not for every file system: some have two numbers for a device.
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
