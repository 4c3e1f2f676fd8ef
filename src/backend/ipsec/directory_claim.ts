/**
 * Makes sure that only one daemon at a time uses a run directory and the charon in it.
 *
 * Two daemons with one directory would each load their own connections into its charon and remove
 * those of the other. In different network namespaces, each would keep restarting charon in its
 * own. So a daemon holds a lock on a file there while it runs: flock(2), which the kernel releases
 * when the process ends for any reason. charon does not hold the lock, because it outlives the
 * daemon.
 */

import { closeSync, constants, ftruncateSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { tryLockFile } from "../../../ffi/file_lock.ts";
import { readRegularText, requireReplaceable } from "../../base/regular_file.ts";
import type { Log } from "../../log/log.ts";
import { OWN_RUN, ownNamespace } from "../../process/listener_namespace.ts";
import { namespaceOf } from "../../process/proc_files.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { type ClaimAttempt, type ClaimOptions, waitForClaim } from "../../overlay/claim.ts";
import { ownSocket, SOCKET_VARIABLE } from "./charon_paths.ts";

/**
 * Locks the directory until disposed; waits for another daemon to end. Throws `BackendError` if it
 * does not, or the reason of `stop`. If the file system has no locks, logs that and holds nothing.
 */
export async function claimDirectory(
  runDirectory: string,
  options: ClaimOptions,
): Promise<Disposable> {
  const descriptor = openLockFile(runDirectory);
  try {
    const attempt = () => tryClaim(runDirectory, descriptor, options.log);
    const claim = await waitForClaim(attempt, options);
    writeHolder(descriptor);
    return claim;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function tryClaim(runDirectory: string, descriptor: number, log: Log): ClaimAttempt {
  if (tryLock(descriptor, log)) {
    return { kind: "claimed", claim: { [Symbol.dispose]: () => closeSync(descriptor) } };
  }
  const holder = readHolder(runDirectory);
  const text = `${holderText(holder)} has the run directory ${runDirectory}`;
  return {
    kind: "taken",
    holder: text,
    refusal: `${text}, ${reasonAndRemedy(runDirectory, holder)}`,
  };
}

/** The file is never removed: otherwise two daemons could each lock a file of this name. */
const LOCK_FILE = "charon.lock";

function openLockFile(runDirectory: string): number {
  const path = join(runDirectory, LOCK_FILE);
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    mkdirSync(runDirectory, { recursive: true });
    requireReplaceable(path);
    return openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (cause) {
    throw new BackendError(
      `cannot open the lock file ${path}: ${errorMessage(cause)}; choose another directory with ` +
        "--subnet-file",
      { cause },
    );
  }
}

function tryLock(descriptor: number, log: Log): boolean {
  try {
    return tryLockFile(descriptor);
  } catch (error) {
    log.warn(
      `cannot determine whether another flanneld uses this charon: ${errorMessage(error)}`,
    );
    return true;
  }
}

/** The daemon that holds the lock; its process ID is that of its own PID namespace. */
interface Holder {
  readonly pid: number;
  readonly pidNamespace: string;
  readonly networkNamespace: string;
}

function writeHolder(descriptor: number): void {
  const holder: Holder = {
    pid: process.pid,
    pidNamespace: namespaceOf("self", "pid") ?? "",
    networkNamespace: ownNamespace(),
  };
  ftruncateSync(descriptor);
  writeSync(descriptor, `${JSON.stringify(holder)}\n`, 0);
}

/** `undefined` if the holder has not written it yet, or for invalid content. */
function readHolder(runDirectory: string): Holder | undefined {
  try {
    const value: unknown = JSON.parse(readRegularText(join(runDirectory, LOCK_FILE), 4096));
    const { pid, pidNamespace, networkNamespace } = value as Partial<Holder>;
    if (!Number.isInteger(pid)) return undefined;
    const isText = (text: unknown) => typeof text === "string" && /^\w+:\[\d+\]$/.test(text);
    return isText(pidNamespace) && isText(networkNamespace) ? value as Holder : undefined;
  } catch {
    return undefined;
  }
}

function holderText(holder: Holder | undefined): string {
  if (holder === undefined) return "another flanneld";
  const { pid, pidNamespace, networkNamespace } = holder;
  const isSeen = pidNamespace === namespaceOf("self", "pid");
  const who = `another flanneld (process ${pid}${isSeen ? "" : " of another container"})`;
  return networkNamespace === ownNamespace()
    ? who
    : `${who} in network namespace ${networkNamespace}`;
}

function reasonAndRemedy(runDirectory: string, holder: Holder | undefined): string {
  if (holder !== undefined && holder.networkNamespace !== ownNamespace()) {
    return `whose charon serves that network namespace only; this daemon is in ` +
      `${ownNamespace()}: ${OWN_RUN}`;
  }
  return "whose charon can serve only one daemon: stop the other one, or start this one with " +
    `--subnet-file in another directory and ${SOCKET_VARIABLE}=${ownSocket(runDirectory)}`;
}
