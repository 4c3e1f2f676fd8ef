/** Which etcd or datastore to use, and as whom: that of the flags, or the one joined. */

import { type Clock, sleep } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { readRegularText } from "../base/regular_file.ts";
import { type DaemonOptions, etcdOfFlags, namesEtcd } from "../cli/daemon_options.ts";
import type { EtcdAccess } from "../etcd/client/cluster.ts";
import { JoinError } from "../join/join_error.ts";
import { type JoinTarget, parseJoinTarget } from "../join/join_token.ts";
import { joinedDatastore, type NodeCredential, readCredential } from "../join/node_credential.ts";
import type { Log } from "../log/log.ts";
import type { Readiness } from "./readiness.ts";

/** Access, and to what: `datastore` is one that this node has joined. */
export interface ChosenAccess extends EtcdAccess {
  readonly kind: "etcd" | "datastore";
}

export interface EtcdAccessContext {
  readonly options: DaemonOptions;
  readonly readiness: Pick<Readiness, "step">;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * With `--join` or `--join-file`, waits until this node has joined. A node that has joined uses
 * what it has learned, unless a flag names another etcd. Throws `JoinError`, or the signal's
 * reason.
 */
export async function etcdAccess(context: EtcdAccessContext): Promise<ChosenAccess> {
  const { options, log } = context;
  const { join, joinFile, joinState } = options;
  if (join === undefined && joinFile === "") {
    const credential = namesEtcd(options) ? undefined : readCredential(joinState);
    if (credential === undefined) return { kind: "etcd", ...etcdOfFlags(options) };
    log.info(`using the datastore at ${credential.endpoint}, which this node has joined`);
    return { kind: "datastore", ...joinedDatastore(credential) };
  }
  const found = join ?? await targetOrCredential(context);
  const credential = "token" in found ? await joinTarget(found, context) : found;
  return { kind: "datastore", ...joinedDatastore(credential) };
}

async function joinTarget(
  target: JoinTarget,
  { options, readiness, clock, log, signal }: EtcdAccessContext,
): Promise<NodeCredential> {
  const step = `joining the datastore at ${target.host} port ${target.port}`;
  readiness.step(step);
  const { joinDatastore } = await import("../join/join_datastore.ts");
  return await joinDatastore(target, {
    stateFile: options.joinState,
    clock,
    log,
    signal,
    onWaiting: (reason) => readiness.step(`${step}: ${reason}`),
  });
}

const RETRY_MS = 1_000;
const MAX_FILE_BYTES = 64 * 1024;

/**
 * What `--join-file` contains. A node that has joined does not need it any more and has its
 * credential; another one waits for the file, which may be written after the daemon has started.
 */
async function targetOrCredential(
  { options, readiness, clock, log, signal }: EtcdAccessContext,
): Promise<JoinTarget | NodeCredential> {
  const { joinFile: path, joinState } = options;
  for (let isLogged = false;; isLogged = true) {
    signal.throwIfAborted();
    const text = readJoinFile(path);
    if (text !== "") {
      const target = parseJoinTarget(text);
      if (!("problem" in target)) return target;
      throw new JoinError(`--join-file ${path} is not TOKEN@HOST[:PORT]: ${target.problem}`, {
        mayPass: false,
      });
    }
    const credential = readCredential(joinState);
    if (credential !== undefined) return credential;
    const step = `waiting for --join-file ${path}, which does not exist or is empty`;
    readiness.step(step);
    if (!isLogged) log.info(step);
    await sleep(clock, RETRY_MS, signal);
  }
}

/** Empty if there is no file. */
function readJoinFile(path: string): string {
  try {
    return readRegularText(path, MAX_FILE_BYTES).trim();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw new JoinError(`cannot read --join-file: ${errorMessage(cause)}`, {
      mayPass: false,
      cause,
    });
  }
}
