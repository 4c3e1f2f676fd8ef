/**
 * Puts a UNIX socket at a path, at which only one daemon ever answers: the socket of a process that
 * has ended is replaced; that of a running one, and any other file, is left alone.
 */

import { chmodSync, linkSync, lstatSync, mkdirSync, rmSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { probeUnixSocket } from "../../ffi/unix_peer.ts";
import { errorMessage, OperatorError } from "../base/operator_error.ts";

/** The socket cannot be at this path. */
export class SocketClaimError extends OperatorError {
  override readonly name = "SocketClaimError";
}

const MAX_PATH_BYTES = 107; // struct sockaddr_un, unix(7)

/**
 * Calls `listen` with a temporary path, then links the socket that it has made to `path`, with mode
 * 0600. Disposing stops the listener and removes the path, unless another process has replaced it.
 * Throws `SocketClaimError`.
 */
export function claimSocket(path: string, listen: (path: string) => Disposable): Disposable {
  // In the same directory, so that it can be linked. An existing one is of an earlier process.
  const temporary = `${path}.${process.pid}`;
  if (Buffer.byteLength(temporary) > MAX_PATH_BYTES) {
    throw new SocketClaimError(
      `the path has more than the ${MAX_PATH_BYTES} bytes that Linux allows; choose a shorter ` +
        "--subnet-file",
    );
  }
  try {
    mkdirSync(dirname(path), { recursive: true });
    removeStale(path);
    rmSync(temporary, { force: true });
    const listener = listen(temporary);
    try {
      // Not by umask(2), which would also apply to what other threads create at this moment.
      chmodSync(temporary, 0o600);
      // Unlike rename(2), link(2) never replaces what has taken the path meanwhile.
      linkSync(temporary, path);
      const own = lstatSync(path);
      return { [Symbol.dispose]: () => release(path, own, listener) };
    } catch (error) {
      listener[Symbol.dispose]();
      throw error;
    } finally {
      rmSync(temporary, { force: true });
    }
  } catch (cause) {
    if (cause instanceof SocketClaimError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw new SocketClaimError(reasonOf(code) ?? errorMessage(cause), { cause });
  }
}

function reasonOf(code: string | undefined): string | undefined {
  switch (code) {
    case "EEXIST":
      return "another process has just taken it";
    case "EROFS":
    case "EACCES":
      return `${code}: the directory is not writable`;
    default:
      return undefined;
  }
}

/** Throws `SocketClaimError` unless the path is free afterwards. */
function removeStale(path: string): void {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return;
  if (!status.isSocket()) {
    throw new SocketClaimError(`it is ${kindOf(status)}, not a socket; remove it`);
  }
  const probe = probeUnixSocket(path);
  if (probe !== "refused") {
    const pid = typeof probe === "object" && probe.pid > 0 ? ` (process ${probe.pid})` : "";
    throw new SocketClaimError(
      `another process${pid} listens there; give each flanneld a --subnet-file of its own`,
    );
  }
  rmSync(path, { force: true });
}

function kindOf(status: Stats): string {
  if (status.isSymbolicLink()) return "a symbolic link";
  if (status.isDirectory()) return "a directory";
  if (status.isFile()) return "a regular file";
  return status.isFIFO() ? "a FIFO" : "a device";
}

/** A path that cannot be removed stays, and is replaced by the next daemon. */
function release(path: string, own: Stats, listener: Disposable): void {
  try {
    const now = lstatSync(path, { throwIfNoEntry: false });
    if (now?.ino === own.ino && now.dev === own.dev) rmSync(path, { force: true });
  } catch {
    // Its directory is read-only by now, or something else.
  } finally {
    listener[Symbol.dispose]();
  }
}
