/**
 * Reading and replacing files whose paths come from a user, or whose directories others may write.
 *
 * What is there may be anything. To open a FIFO waits for its other end, to open a device may act on
 * the machine, and to rename over a device removes it; so what a path leads to is looked at first.
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
import { open, rename, rm } from "node:fs/promises";

/** There is something else than a regular file, or a larger one than makes sense. */
export class RegularFileError extends Error {
  override readonly name = "RegularFileError";
}

export interface RegularFile {
  readonly bytes: Buffer<ArrayBuffer>;
  /** Permission bits. */
  readonly mode: number;
}

/**
 * The content of the regular file that the path leads to, by symbolic links too. Throws
 * `RegularFileError` for anything else and for more than `maxBytes`, and the system's error.
 */
export function readRegularFile(path: string, maxBytes: number): RegularFile {
  requireRegular(path, statSync(path));
  // Without O_NONBLOCK, to open a FIFO that has taken the place by now would wait.
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
 * Throws `RegularFileError` unless the path is that of a regular file, of a symbolic link to one, or
 * of nothing. A link that leads nowhere is nothing.
 */
export function requireReplaceable(path: string): void {
  const link = lstatSync(path, { throwIfNoEntry: false });
  if (link === undefined) return;
  const status = link.isSymbolicLink() ? statSync(path, { throwIfNoEntry: false }) : link;
  if (status !== undefined) requireRegular(path, status);
}

export interface ReplaceOptions {
  readonly mode: number;
  /** Before it takes its place, its content is on the disk. */
  readonly flush: boolean;
}

/**
 * Puts a new file in the place of what is there, in one step. A symbolic link is replaced itself:
 * nothing is written through a link. Throws as `requireReplaceable`, and the system's error.
 */
export async function replaceFile(
  path: string,
  text: string,
  { mode, flush }: ReplaceOptions,
): Promise<void> {
  requireReplaceable(path);
  // The name cannot be guessed, and what has it all the same is neither followed nor overwritten.
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

/** It may grow meanwhile, and its size may be told as 0. */
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
