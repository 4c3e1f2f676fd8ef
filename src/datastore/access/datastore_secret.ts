/**
 * What a datastore can be given for its first start, so that the token of its nodes is known
 * before: the private key of its CA, and the secret of the token. Its text begins with D1
 * (../../join/checked_text.ts) and is made by `flanneld datastore token prepare`.
 */

import {
  type CheckedText,
  parseCheckedText,
  type TextKind,
  writeCheckedText,
} from "../../join/checked_text.ts";

export interface DatastoreSecret {
  /** Of the token. */
  readonly id: string;
  /** The private key of the CA, on the curve P-256: 32 bytes in base64url. */
  readonly caKey: string;
  /** Of the token: 16 bytes in base64url. */
  readonly tokenSecret: string;
}

const SECRET: TextKind = { letter: "D", noun: "the secret" };

export function datastoreSecretText({ id, caKey, tokenSecret }: DatastoreSecret): string {
  return writeCheckedText(SECRET, { id, anchor: caKey, secret: tokenSecret });
}

/** Reads a secret; otherwise what is wrong with it, as a sentence about "the secret". */
export function parseDatastoreSecret(
  text: string,
): DatastoreSecret | { readonly problem: string } {
  if (text.startsWith("F1.")) {
    return { problem: "the secret is the token of a node, which begins with F1" };
  }
  const read = parseCheckedText(SECRET, text);
  return "problem" in read ? read : fromText(read);
}

function fromText({ id, anchor, secret }: CheckedText): DatastoreSecret {
  return { id, caKey: anchor, tokenSecret: secret };
}
