/** The tokens that Authenticate returns; etcd calls them simple tokens. They are only in memory. */

import { randomBytes } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { secretHash } from "./secret_hash.ts";

/** Who calls: a node or another user, or a node that is about to join with a token. */
export type Caller =
  | { readonly kind: "user"; readonly name: string }
  | { readonly kind: "token"; readonly id: string };

/** The same for the same caller only. */
export function callerKey(caller: Caller): string {
  return caller.kind === "user" ? `user ${caller.name}` : `token ${caller.id}`;
}

export interface AuthSessionsOptions {
  readonly clock: Pick<Clock, "nowMs">;
  /** From the last use; etcd's `--auth-token-ttl`. */
  readonly ttlMs?: number;
}

/** As etcd's default. */
const TTL_MS = 300_000;
const MAX_SESSIONS = 65_536;

export class AuthSessions {
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #ttlMs: number;
  /** By the hash of the token, the one that was used last at the end. */
  readonly #byHash = new Map<string, { readonly caller: Caller; readonly expiresMs: number }>();

  constructor({ clock, ttlMs = TTL_MS }: AuthSessionsOptions) {
    this.#clock = clock;
    this.#ttlMs = ttlMs;
  }

  /** A new token for this caller. */
  create(caller: Caller): string {
    this.#removeOld();
    const token = randomBytes(32).toString("base64url");
    this.#byHash.set(secretHash(token), { caller, expiresMs: this.#clock.nowMs() + this.#ttlMs });
    return token;
  }

  /** Whose token it is, which is then valid for longer; `undefined` if it is not valid. */
  callerOf(token: string): Caller | undefined {
    const hash = secretHash(token);
    const session = this.#byHash.get(hash);
    if (session === undefined || session.expiresMs <= this.#clock.nowMs()) return undefined;
    const { caller } = session;
    this.#byHash.delete(hash);
    this.#byHash.set(hash, { caller, expiresMs: this.#clock.nowMs() + this.#ttlMs });
    return caller;
  }

  /** Makes all tokens of this caller invalid. */
  end(removed: Caller): void {
    for (const [hash, { caller }] of this.#byHash) {
      if (callerKey(caller) === callerKey(removed)) this.#byHash.delete(hash);
    }
  }

  #removeOld(): void {
    for (const [hash, { expiresMs }] of this.#byHash) {
      if (expiresMs > this.#clock.nowMs() && this.#byHash.size < MAX_SESSIONS) return;
      this.#byHash.delete(hash);
    }
  }
}
