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
  /** The private key of the CA, on the curve P-256: 32 bytes in base64url, checked. */
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
  if ("problem" in read) return read;
  if (!isPrivateKey(read.anchor)) {
    return { problem: `the secret ${read.id} contains no valid key of a CA; make another one` };
  }
  return fromText(read);
}

/** From 1 to the order of the curve, exclusive (SEC 1, 3.2.1). */
function isPrivateKey(caKey: string): boolean {
  const bytes = Buffer.from(caKey, "base64url");
  return bytes.compare(Buffer.alloc(bytes.length)) > 0 && bytes.compare(P256_ORDER) < 0;
}

/** n of P-256 (SEC 2, 2.4.2). */
const P256_ORDER = Buffer.from(
  "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
  "hex",
);

function fromText({ id, anchor, secret }: CheckedText): DatastoreSecret {
  return { id, caKey: anchor, tokenSecret: secret };
}
