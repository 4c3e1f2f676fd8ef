/**
 * Reading and replacing files whose paths come from a user, or whose directories others may write.
 *
 * The path may lead to anything. Opening a FIFO blocks until its other end is opened, opening a device
 * may have side effects, and renaming over a device removes it. So the file's type is checked first.
 */

import { OperatorError } from "./operator_error.ts";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  type Stats,
  statSync,
} from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** The path leads to something other than a regular file, or to one that is too large. */
export class RegularFileError extends OperatorError {
  override readonly name = "RegularFileError";
}

export interface RegularFile {
  readonly bytes: Buffer<ArrayBuffer>;
  /** Permission bits. */
  readonly mode: number;
}

/**
 * The content of a regular file; symbolic links are followed. Throws `RegularFileError` for anything
 * else and for more than `maxBytes`, and the system's error.
 */
export function readRegularFile(path: string, maxBytes: number): RegularFile {
  requireRegular(path, statSync(path));
  // Without O_NONBLOCK, opening a FIFO that has replaced the file in the meantime would block.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = fstatSync(file);
    requireRegular(path, status);
    if (status.size > maxBytes) throw tooLarge(path, maxBytes);
    return { bytes: readAll(file, { path, maxBytes }), mode: status.mode & 0o7777 };
  } finally {
    closeSync(file);
  }
}

/** As UTF-8; see `readRegularFile`. */
export function readRegularText(path: string, maxBytes: number): string {
  return readRegularFile(path, maxBytes).bytes.toString("utf8");
}

/**
 * Throws `RegularFileError` unless the path is a regular file or a symbolic link to one, or does not
 * exist. A dangling link does not count as existing.
 */
export function requireReplaceable(path: string): void {
  const link = lstatSync(path, { throwIfNoEntry: false });
  if (link === undefined) return;
  const status = link.isSymbolicLink() ? statSync(path, { throwIfNoEntry: false }) : link;
  if (status !== undefined) requireRegular(path, status);
}

/**
 * Throws `RegularFileError` if the directory of the path cannot be made, because a file or a loop of
 * symbolic links is in its way.
 */
export function requireDirectoryFor(path: string): void {
  for (let directory = dirname(resolve(path));; directory = dirname(directory)) {
    const status = statusAbove(directory);
    if (status === undefined) continue; // It will be made; "/" is always there.
    if (status.isDirectory()) return;
    const kind = status.isFile() ? "a regular file" : kindOf(status);
    throw new RegularFileError(`${directory} is ${kind}, not a directory`);
  }
}

function statusAbove(directory: string): Stats | undefined {
  try {
    return statSync(directory, { throwIfNoEntry: false });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw cause;
  }
}

export interface ReplaceOptions {
  readonly mode: number;
  /** Writes the content to the disk before the rename (fsync(2)). */
  readonly flush: boolean;
}

/**
 * Replaces a file atomically, or creates it. A symbolic link itself is replaced: nothing is written
 * through a link. Throws as `requireReplaceable`, and the system's error.
 */
export async function replaceFile(
  path: string,
  text: string,
  { mode, flush }: ReplaceOptions,
): Promise<void> {
  requireReplaceable(path);
  // The name is unpredictable; should it exist nevertheless, it is neither followed nor overwritten.
  const suffix = Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
  const temporary = `${path}.${suffix}.tmp`;
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    try {
      await file.chmod(mode); // whatever the umask is
      await file.writeFile(text);
      if (flush) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function requireRegular(path: string, status: Stats): void {
  if (!status.isFile()) {
    throw new RegularFileError(`${path} is ${kindOf(status)}, not a regular file`);
  }
}

function kindOf(status: Stats): string {
  if (status.isDirectory()) return "a directory";
  if (status.isFIFO()) return "a FIFO";
  if (status.isSocket()) return "a socket";
  return status.isCharacterDevice() || status.isBlockDevice() ? "a device" : "something else";
}

/** The file may grow while it is read, and its reported size may be 0 (procfs). */
function readAll(
  file: number,
  { path, maxBytes }: { path: string; maxBytes: number },
): Buffer<ArrayBuffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    const count = readSync(file, chunk);
    if (count === 0) return Buffer.concat(chunks, total);
    total += count;
    if (total > maxBytes) throw tooLarge(path, maxBytes);
    chunks.push(chunk.subarray(0, count));
  }
}

function tooLarge(path: string, maxBytes: number): RegularFileError {
  return new RegularFileError(`${path} has more than ${maxBytes} bytes`);
}

const CHUNK_BYTES = 64 * 1024;
