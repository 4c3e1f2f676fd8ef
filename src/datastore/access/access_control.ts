/**
 * Who may use the datastore. A join token admits nodes: it may do nothing but add a user. Each node
 * is a user with a random password of its own, which may read and write all keys. So a token can be
 * revoked without cutting off a node, and a node can be cut off without affecting the others.
 */

import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { SerialQueue } from "../../base/serial_queue.ts";
import { newPassword, TOKEN_EXPIRED, TOKEN_USER_PREFIX } from "../../join/join_protocol.ts";
import { type JoinToken, newJoinToken } from "../../join/join_token.ts";
import type { Log } from "../../log/log.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { RequestError } from "../mvcc/request_error.ts";
import {
  type AccessRecord,
  readAccess,
  type StoredToken,
  type StoredUser,
  writeAccess,
} from "./access_record.ts";
import { AuthSessions, type Caller } from "./auth_sessions.ts";
import { FailedAttempts } from "./failed_attempts.ts";
import { matchesHash, secretHash } from "./secret_hash.ts";

export interface AccessControlOptions {
  readonly directory: string;
  /** See `caFingerprint`. */
  readonly fingerprint: string;
  /** The lasting token of a new datastore; by default, one is made. */
  readonly firstToken?: JoinToken | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface UserCredential {
  readonly name: string;
  readonly password: string;
}

export interface NewToken {
  readonly description: string;
  /** `undefined`: it does not expire. */
  readonly ttlSeconds: number | undefined;
}

const DAY_MS = 86_400_000;
/** How long a node that uses an expired token learns that it has expired. */
const KEEP_EXPIRED_MS = 30 * DAY_MS;
const MIN_PASSWORD_LENGTH = 22;
const USER_NAME = /^[A-Za-z0-9][\w.-]{0,99}$/;

export class AccessControl {
  /** Notified of a caller that may no longer call, to close its connections. */
  onRemoved: (caller: Caller) => void = () => undefined;
  readonly #options: AccessControlOptions;
  readonly #sessions: AuthSessions;
  readonly #attempts: FailedAttempts;
  readonly #writes = new SerialQueue();
  #nextWrite: Promise<void> | undefined;
  #tokens: readonly StoredToken[];
  readonly #users: Map<string, StoredUser>;

  /** With a lasting token, if there has never been one. */
  static async open(options: AccessControlOptions): Promise<AccessControl> {
    const record = readAccess(options.directory);
    const control = new AccessControl(options, record ?? { tokens: [], users: [] });
    const { firstToken = newJoinToken(options.fingerprint) } = options;
    if (record === undefined) await control.#replaceLastingToken(firstToken);
    return control;
  }

  private constructor(options: AccessControlOptions, { tokens, users }: AccessRecord) {
    this.#options = options;
    this.#sessions = new AuthSessions(options);
    this.#attempts = new FailedAttempts(options.clock);
    this.#tokens = tokens;
    this.#users = new Map(users.map((user) => [user.name, user]));
  }

  get tokens(): readonly StoredToken[] {
    return this.#tokens;
  }

  get users(): readonly StoredUser[] {
    return [...this.#users.values()];
  }

  /** The token that does not expire; `undefined` if it was revoked. */
  get lastingToken(): JoinToken | undefined {
    for (const { id, secret } of this.#tokens) {
      if (secret !== undefined) return { id, secret, fingerprint: this.#options.fingerprint };
    }
    return undefined;
  }

  /** Whether nodes can join with this token. */
  admits({ id, secret }: Pick<JoinToken, "id" | "secret">): boolean {
    const token = this.#tokens.find((one) => one.id === id);
    return token !== undefined && !this.isExpired(token) && matchesHash(secret, token.hash);
  }

  /** Whether a token no longer admits nodes because of its age. */
  isExpired({ expiresMs = Infinity }: Pick<StoredToken, "expiresMs">): boolean {
    return expiresMs <= this.#options.clock.wallMs();
  }

  /**
   * A token for further calls. Throws `RequestError` "authFailed", or "tooManyRequests" for an
   * address that has tried too often.
   */
  authenticate({ name, password }: UserCredential, address: string): string {
    if (this.#attempts.isExhausted(address)) throw new RequestError("tooManyRequests");
    const caller = name.startsWith(TOKEN_USER_PREFIX)
      ? { kind: "token", id: name.slice(TOKEN_USER_PREFIX.length) } as const
      : { kind: "user", name } as const;
    try {
      this.#checkPassword(caller, password);
    } catch (error) {
      this.#attempts.add(address);
      this.#options.log.debug(`refused ${caller.kind} ${name} from ${address}`);
      throw error;
    }
    return this.#sessions.create(caller);
  }

  /** Who calls with this token. Throws `RequestError` for a missing or an invalid one. */
  callerOf(token: string | undefined): Caller {
    if (token === undefined || token === "") throw new RequestError("userNameEmpty");
    const caller = this.#sessions.callerOf(token);
    if (caller === undefined) throw new RequestError("invalidAuthToken");
    return caller;
  }

  /**
   * Adds the user of a node that joins. Adding it again with the same password does nothing: the
   * first response may have been lost. Throws `RequestError`.
   */
  async join(tokenId: string, credential: UserCredential, address: string): Promise<void> {
    const { name, password } = credential;
    if (password.length < MIN_PASSWORD_LENGTH || !isUserName(name)) {
      throw new RequestError("permissionDenied");
    }
    const known = this.#users.get(name);
    if (known !== undefined && !matchesHash(password, known.hash)) {
      throw new RequestError("userExists");
    }
    this.#users.set(name, known ?? this.#newUser(credential, { token: tokenId, address }));
    await this.#save();
    this.#options.log.info(`node ${name} joined from ${address} with token ${tokenId}`);
  }

  /** A user with a new password. Throws `DatastoreError`. */
  async addUser(name: string): Promise<UserCredential> {
    if (!isUserName(name)) {
      throw new DatastoreError(
        `cannot add a user "${name}": a name has letters, digits, ".", "_" and "-", and does not ` +
          `begin with ${TOKEN_USER_PREFIX}`,
      );
    }
    if (this.#users.has(name)) {
      throw new DatastoreError(`user ${name} exists; remove it first to get another password`);
    }
    const credential = { name, password: newPassword() };
    this.#users.set(name, this.#newUser(credential, {}));
    await this.#save();
    this.#options.log.info(`added user ${name}`);
    return credential;
  }

  /** Cuts it off at once. Throws `DatastoreError` if there is no such user. */
  async removeUser(name: string): Promise<void> {
    if (!this.#users.delete(name)) throw new DatastoreError(`there is no user ${name}`);
    this.#end({ kind: "user", name });
    await this.#save();
    this.#options.log.info(`removed user ${name}`);
  }

  async createToken({ description, ttlSeconds }: NewToken): Promise<JoinToken> {
    const token = newJoinToken(this.#options.fingerprint);
    const createdMs = this.#options.clock.wallMs();
    this.#addToken({
      id: token.id,
      hash: secretHash(token.secret),
      description,
      createdMs,
      ...(ttlSeconds !== undefined && { expiresMs: createdMs + 1_000 * ttlSeconds }),
    });
    await this.#save();
    this.#options.log.info(`created token ${token.id}`);
    return token;
  }

  /** Replaces the lasting token by a new one. */
  async rotateToken(): Promise<JoinToken> {
    const token = newJoinToken(this.#options.fingerprint);
    await this.#replaceLastingToken(token);
    return token;
  }

  async #replaceLastingToken(token: JoinToken): Promise<void> {
    const { clock, log } = this.#options;
    const old = this.lastingToken;
    if (old !== undefined) this.#removeToken(old.id);
    this.#addToken({
      id: token.id,
      hash: secretHash(token.secret),
      secret: token.secret,
      description: "does not expire; printed by flanneld datastore token",
      createdMs: clock.wallMs(),
    });
    await this.#save();
    log.info(`created token ${token.id}${old === undefined ? "" : `, and revoked ${old.id}`}`);
  }

  /** Throws `DatastoreError` if there is no such token. */
  async revokeToken(id: string): Promise<void> {
    if (!this.#removeToken(id)) {
      throw new DatastoreError(`there is no token ${id}; flanneld datastore token list shows all`);
    }
    await this.#save();
    this.#options.log.info(`revoked token ${id}`);
  }

  #checkPassword(caller: Caller, password: string): void {
    const known = caller.kind === "user"
      ? this.#users.get(caller.name)
      : this.#tokens.find(({ id }) => id === caller.id);
    if (!matchesHash(password, known?.hash)) throw new RequestError("authFailed");
    const isExpired = known !== undefined && "id" in known && this.isExpired(known);
    if (isExpired) throw new RequestError("authFailed", { detail: TOKEN_EXPIRED });
  }

  #newUser(
    { name, password }: UserCredential,
    origin: Pick<StoredUser, "token" | "address">,
  ): StoredUser {
    return { name, hash: secretHash(password), createdMs: this.#options.clock.wallMs(), ...origin };
  }

  #addToken(token: StoredToken): void {
    const oldestMs = this.#options.clock.wallMs() - KEEP_EXPIRED_MS;
    const kept = this.#tokens.filter(({ expiresMs = Infinity }) => expiresMs > oldestMs);
    this.#tokens = [...kept, token];
  }

  #removeToken(id: string): boolean {
    const kept = this.#tokens.filter((one) => one.id !== id);
    if (kept.length === this.#tokens.length) return false;
    this.#tokens = kept;
    this.#end({ kind: "token", id });
    return true;
  }

  #end(removed: Caller): void {
    this.#sessions.end(removed);
    this.onRemoved(removed);
  }

  /** Changes that are made while the file is being written are written together. */
  #save(): Promise<void> {
    this.#nextWrite ??= this.#writes.run(() => {
      this.#nextWrite = undefined;
      return writeAccess(this.#options.directory, { tokens: this.#tokens, users: this.users });
    }).catch((cause: unknown) => {
      throw new DatastoreError(
        `cannot save the tokens and users: ${errorMessage(cause)}; the change lasts until the ` +
          "datastore is restarted",
        { cause },
      );
    });
    return this.#nextWrite;
  }
}

function isUserName(name: string): boolean {
  return USER_NAME.test(name) && !name.startsWith(TOKEN_USER_PREFIX);
}
