/** What `flanneld datastore token` and `user` ask of the datastore that serves a directory. */

import type { StoredToken, StoredUser } from "./access_record.ts";

/** A token, as text that can be used. */
export interface IssuedToken {
  readonly id: string;
  /** `TOKEN@HOST[:PORT]` for each address of the datastore, the best one first. */
  readonly targets: readonly string[];
  /** Milliseconds since 1970; `undefined` for a token that does not expire. */
  readonly expiresMs?: number;
}

export type ListedToken = Omit<StoredToken, "hash" | "secret"> & { readonly isExpired: boolean };
export type ListedUser = Omit<StoredUser, "hash">;

/** What a client needs to connect as a user. */
export interface UserAccess {
  readonly name: string;
  readonly password: string;
  /** The path of the CA's certificate on the datastore's machine. */
  readonly caFile: string;
  /** `https://HOST:PORT`. */
  readonly endpoint: string;
}

/** Each command with its argument and its result, both of which are sent as JSON. */
export interface ControlCommands {
  /** The result is `null` if the token that does not expire was revoked. */
  readonly lastingToken: { readonly argument: null; readonly result: IssuedToken | null };
  readonly createToken: {
    readonly argument: { readonly description: string; readonly ttlSeconds: number };
    readonly result: IssuedToken;
  };
  readonly listTokens: { readonly argument: null; readonly result: readonly ListedToken[] };
  readonly rotateToken: { readonly argument: null; readonly result: IssuedToken };
  readonly revokeToken: { readonly argument: string; readonly result: null };
  readonly listUsers: { readonly argument: null; readonly result: readonly ListedUser[] };
  readonly addUser: { readonly argument: string; readonly result: UserAccess };
  /** The result is the number of tokens with which the node could join again. */
  readonly removeUser: { readonly argument: string; readonly result: number };
}

export type ControlCommand = keyof ControlCommands;

/** In the data directory. */
export const CONTROL_SOCKET = "control.sock";
