/** What a node and a datastore agree on when the node joins, besides etcd's calls. */

/** The user name with which a node presents its token to etcd's Authenticate. */
export function tokenUserName(id: string): string {
  return `${TOKEN_USER_PREFIX}${id}`;
}

/** No other user name begins with this. */
export const TOKEN_USER_PREFIX = "token-";

/** The password of a user; it need not be remembered. */
export function newPassword(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString("base64url");
}

/** Follows etcd's text for a wrong password. */
export const TOKEN_EXPIRED = ": the token has expired";
