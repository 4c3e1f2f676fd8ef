/**
 * Reads and replaces files whose paths an operator configures (the subnet file, TLS files), or
 * whose directories other users may write to (records of backends).
 *
 * Such a path may refer to anything. Opening a FIFO blocks until its other end is opened, opening a
 * device may have side effects, and renaming over a device removes it. So the type is checked
 * first.
 */

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
import { link, open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { OperatorError } from "./operator_error.ts";

/** The file cannot be used, although the system would allow it: its type or its size is wrong. */
export class RegularFileError extends OperatorError {
  override readonly name = "RegularFileError";
  readonly kind: RegularFileErrorKind;
  /** What is wrong: the file, or for `not-a-directory` one of its parents. */
  readonly path: string;

  constructor(kind: RegularFileErrorKind, path: string, reason: string) {
    super(`${path} ${reason}`);
    this.kind = kind;
    this.path = path;
  }
}

export type RegularFileErrorKind = "not-a-regular-file" | "not-a-directory" | "too-large";

export interface RegularFile {
  readonly bytes: Buffer<ArrayBuffer>;
  /** Permission bits. */
  readonly mode: number;
}

/**
 * Reads a regular file of at most `maxBytes`. Symbolic links are followed. Throws
 * `RegularFileError`, or the system's error (with `code`, such as `ENOENT`).
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

/** As `readRegularFile`, decoded as UTF-8. */
export function readRegularText(path: string, maxBytes: number): string {
  return readRegularFile(path, maxBytes).bytes.toString("utf8");
}

/**
 * Throws `RegularFileError` unless the path is a regular file, a symbolic link to one, a dangling
 * link, or does not exist.
 */
export function requireReplaceable(path: string): void {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (entry === undefined) return;
  const status = entry.isSymbolicLink() ? statSync(path, { throwIfNoEntry: false }) : entry;
  if (status !== undefined) requireRegular(path, status);
}

/**
 * Throws `RegularFileError` if the path's directory cannot be created because one of its parents is
 * not a directory, and the system's error for a loop of symbolic links (`ELOOP`).
 */
export function requireDirectoryFor(path: string): void {
  for (let directory = dirname(resolve(path));; directory = dirname(directory)) {
    const status = statusAbove(directory);
    if (status === undefined) continue; // It can be created; "/" always exists.
    if (status.isDirectory()) return;
    const kind = status.isFile() ? "a regular file" : kindOf(status);
    throw new RegularFileError("not-a-directory", directory, `is ${kind}, not a directory`);
  }
}

/** `undefined` if the directory does not exist, also if that is because a parent is a file. */
function statusAbove(directory: string): Stats | undefined {
  try {
    return statSync(directory, { throwIfNoEntry: false });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw cause;
  }
}

export interface ReplaceOptions {
  /** Permission bits, whatever the umask is. */
  readonly mode: number;
  /** Write the content to the disk before the rename (fsync(2)). */
  readonly flush: boolean;
}

/**
 * Replaces a file atomically, or creates it. A symbolic link itself is replaced: nothing is written
 * through a link. Throws as `requireReplaceable`, or the system's error.
 */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  options: ReplaceOptions,
): Promise<void> {
  requireReplaceable(path);
  await writeTemporary(path, content, options, (temporary) => rename(temporary, path));
}

/**
 * Creates a file atomically, unless something has its name: a reader finds all of it or nothing.
 * Returns whether it was created. Throws the system's error.
 */
export async function createFile(
  path: string,
  content: string | Uint8Array,
  options: ReplaceOptions,
): Promise<boolean> {
  try {
    await writeTemporary(path, content, options, (temporary) => link(temporary, path));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

/** Writes a file next to `path`, which is removed unless `use` gives it another name. */
async function writeTemporary(
  path: string,
  content: string | Uint8Array,
  { mode, flush }: ReplaceOptions,
  use: (temporary: string) => Promise<void>,
): Promise<void> {
  // The name is unpredictable. If it still exists, it is neither followed nor overwritten.
  const suffix = Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
  const temporary = `${path}.${suffix}.tmp`;
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    try {
      await file.chmod(mode); // open() applied the umask
      await file.writeFile(content);
      if (flush) await file.sync();
    } finally {
      await file.close();
    }
    await use(temporary);
  } finally {
    await rm(temporary, { force: true });
  }
}

function requireRegular(path: string, status: Stats): void {
  if (!status.isFile()) {
    const reason = `is ${kindOf(status)}, not a regular file`;
    throw new RegularFileError("not-a-regular-file", path, reason);
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
  return new RegularFileError("too-large", path, `has more than ${maxBytes} bytes`);
}

const CHUNK_BYTES = 64 * 1024;
