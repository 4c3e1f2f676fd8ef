/**
 * How a node becomes a member of a datastore that requires tokens.
 *
 * It compares the CA that the server presents with the fingerprint in the token, authenticates with
 * the token as any client of etcd does, and adds itself as a user with a password of its own. What
 * it has learned is in a file from then on: later starts need neither the token nor this exchange.
 */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { urlHost } from "../addr/ip.ts";
import { backoffMs, type Clock, sleep } from "../base/clock.ts";
import { openCluster } from "../etcd/client/cluster.ts";
import { EtcdError, isWrongPassword } from "../etcd/client/etcd_error.ts";
import { etcdMethods } from "../etcd/client/etcd_messages.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import { caFingerprint } from "./ca_fingerprint.ts";
import { JoinError } from "./join_error.ts";
import { newPassword, TOKEN_EXPIRED, TOKEN_USER_PREFIX, tokenUserName } from "./join_protocol.ts";
import type { JoinTarget } from "./join_token.ts";
import { type NodeCredential, readCredential, writeCredential } from "./node_credential.ts";
import { pinnedCa } from "./pinned_ca.ts";

export interface DatastoreJoinContext {
  /** The file of the node's credential. */
  readonly stateFile: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Why the node has not joined yet. */
  readonly onWaiting: (reason: string) => void;
}

const RETRY = { firstMs: 1_000, maxMs: 10_000 };

/**
 * The node's credential: the one that it has, or a new one. Repeats what may succeed later, such as
 * connecting to a datastore that does not run yet. Throws `JoinError`, or the signal's reason.
 */
export async function joinDatastore(
  target: JoinTarget,
  context: DatastoreJoinContext,
): Promise<NodeCredential> {
  const known = readCredential(context.stateFile);
  if (known !== undefined) {
    const moved = await stillMember(known, target, context);
    if (moved !== undefined) return moved;
  }
  const user = newUser();
  const { clock, log, signal } = context;
  const joining = new RepeatedFailure({ log, clock, what: `joining ${endpointOf(target)}` });
  for (;;) {
    try {
      const credential = await join(target, user, context);
      joining.succeeded();
      log.info(`joined the datastore at ${credential.endpoint} as ${credential.username}`);
      return credential;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof JoinError) || !error.mayPass) throw error;
      joining.failed(error);
      context.onWaiting(error.message);
    }
    await sleep(clock, backoffMs(joining.failures, RETRY, clock), signal);
    signal.throwIfAborted();
  }
}

interface User {
  readonly username: string;
  readonly password: string;
}

/**
 * The credential of an earlier start, with the address of this one; `undefined` if the datastore
 * no longer accepts it. Throws `JoinError` if the token is another datastore's.
 */
async function stillMember(
  known: NodeCredential,
  target: JoinTarget,
  { stateFile, clock, log, signal }: DatastoreJoinContext,
): Promise<NodeCredential | undefined> {
  if (caFingerprint(known.ca) !== target.token.fingerprint) {
    throw new JoinError(
      `the token is for another datastore than the one at ${known.endpoint}, which this node has ` +
        `joined; to move the node, remove ${stateFile}`,
      { mayPass: false },
    );
  }
  const credential = { ...known, endpoint: endpointOf(target) };
  try {
    await callOnce(credential, { clock, signal });
  } catch (error) {
    signal.throwIfAborted();
    if (isWrongPassword(error)) {
      log.warn(
        `the datastore at ${credential.endpoint} has removed ${known.username}; joining again`,
      );
      return undefined;
    }
    // The lease store waits for the datastore, and reports why it does.
  }
  if (credential.endpoint !== known.endpoint) await writeCredential(stateFile, credential);
  return credential;
}

/** One attempt. Throws `JoinError`, or the signal's reason. */
async function join(
  target: JoinTarget,
  user: User,
  { stateFile, clock, signal }: DatastoreJoinContext,
): Promise<NodeCredential> {
  const endpoint = endpointOf(target);
  const ca = await pinnedCa(target, signal);
  const { id, secret } = target.token;
  try {
    await addUser({ endpoint, ca, username: tokenUserName(id), password: secret }, user, {
      clock,
      signal,
    });
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    throw refusal(error, id);
  }
  const credential = { endpoint, ca, ...user };
  await writeCredential(stateFile, credential);
  return credential;
}

interface CallContext {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Adding the same user again has no effect. */
async function addUser(
  credential: NodeCredential,
  { username, password }: User,
  { clock, signal }: CallContext,
): Promise<void> {
  using calls = callsOf(credential, clock);
  const method = etcdMethods.userAdd;
  const call = { operation: "add this node", method: method.name, repeatable: true, signal };
  await calls.run(call, async ({ transport, ...options }) => {
    await transport.unary(method, { name: username, password }, options);
  });
}

/** Authenticates. */
async function callOnce(
  credential: NodeCredential,
  { clock, signal }: CallContext,
): Promise<void> {
  using calls = callsOf(credential, clock);
  await calls.once(signal, () => Promise.resolve());
}

function callsOf({ endpoint, ca, username, password }: NodeCredential, clock: Clock) {
  const tls = { texts: { ca: { text: ca, name: "the CA of the datastore" } } };
  return openCluster({ endpoints: [endpoint], tls, username, password }, clock).calls;
}

/** A token that is refused once is refused always; all other failures may pass. */
function refusal(cause: EtcdError, tokenId: string): JoinError {
  if (!isWrongPassword(cause)) return new JoinError(cause.message, { mayPass: true, cause });
  const problem = cause.reason.includes(TOKEN_EXPIRED)
    ? "has expired"
    : "is not valid: it was revoked, or its datastore was set up again";
  return new JoinError(
    `the token ${tokenId} ${problem}; take a new one with flanneld datastore token`,
    { mayPass: false, cause },
  );
}

function newUser(): User {
  return { username: newUserName(hostname()), password: newPassword() };
}

/** The name of the host, which need not be unique, and random digits. */
export function newUserName(host: string): string {
  const name = host.replace(/[^\w.-]/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 63);
  const safe = name === "" || name.startsWith(TOKEN_USER_PREFIX) ? `node-${name}` : name;
  return `${safe.replace(/-$/, "")}-${randomBytes(4).toString("hex")}`;
}

function endpointOf({ host, port }: JoinTarget): string {
  return `https://${urlHost(host)}:${port}`;
}
