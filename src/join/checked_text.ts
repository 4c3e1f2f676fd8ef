/**
 * Secrets as text that people copy:
 *
 *     F1.ID.BODY
 *
 * A letter with the version of the format; an ID, which is not secret, for lists and the log; and a
 * body in base64url (RFC 4648 5): 32 bytes whose meaning depends on the letter, a secret of 16
 * bytes, and a checksum by which a truncated text is noticed.
 */

export interface CheckedText {
  /** Up to six characters. */
  readonly id: string;
  /** 32 bytes, in base64url. */
  readonly anchor: string;
  /** 16 bytes, in base64url. */
  readonly secret: string;
}

/** One kind of such texts. */
export interface TextKind {
  readonly letter: string;
  /** In messages: "the token". */
  readonly noun: string;
}

const ANCHOR_BYTES = 32;
const SECRET_BYTES = 16;
const CHECKSUM_BYTES = 4;
const BODY_BYTES = ANCHOR_BYTES + SECRET_BYTES + CHECKSUM_BYTES;
const ID_LENGTH = 6;
/** Without letters and digits that look alike. */
const ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789";

/** A text with a new ID and a new secret. */
export function newCheckedText(anchor: string): CheckedText {
  const letters = [...randomBytes(ID_LENGTH)].map((byte) => ID_ALPHABET[byte % 32]);
  const secret = Buffer.from(randomBytes(SECRET_BYTES)).toString("base64url");
  return { id: letters.join(""), anchor, secret };
}

export function writeCheckedText({ letter }: TextKind, parts: CheckedText): string {
  const head = `${letter}1.${parts.id}.`;
  const content = Buffer.concat([
    Buffer.from(parts.anchor, "base64url"),
    Buffer.from(parts.secret, "base64url"),
  ]);
  return head + Buffer.concat([content, checksum(head, content)]).toString("base64url");
}

/** Reads a text of this kind; otherwise what is wrong with it, as a sentence about the noun. */
export function parseCheckedText(
  kind: TextKind,
  text: string,
): CheckedText | { readonly problem: string } {
  const { letter, noun } = kind;
  const [version = "", id = "", body = "", ...rest] = text.split(".");
  if (version[0] === letter && /^[2-9]\d*$/.test(version.slice(1))) {
    return { problem: `${noun} has the format ${version} of a later version of flanneld` };
  }
  if (version !== `${letter}1` || rest.length > 0 || !/^[a-z2-9]{1,6}$/.test(id)) {
    return { problem: `${noun} does not begin with ${letter}1, a dot, an ID and a dot` };
  }
  if (!/^[\w-]*$/.test(body)) {
    return { problem: `${noun} contains a character that base64url does not have` };
  }
  const bytes = Buffer.from(body, "base64url");
  if (bytes.length < BODY_BYTES) return { problem: `${noun} is truncated` };
  const content = bytes.subarray(0, ANCHOR_BYTES + SECRET_BYTES);
  const parts = {
    id,
    anchor: content.subarray(0, ANCHOR_BYTES).toString("base64url"),
    secret: content.subarray(ANCHOR_BYTES).toString("base64url"),
  };
  // Written again and compared as text: base64 has several texts for the same bytes.
  if (writeCheckedText(kind, parts) === text) return parts;
  return { problem: `${noun} is damaged: its checksum does not match` };
}

/** That of a wrong text matches by chance once in 2³² times. */
function checksum(head: string, content: Uint8Array): Uint8Array {
  const hash = new Bun.CryptoHasher("sha256").update(head).update(content).digest();
  return hash.subarray(0, CHECKSUM_BYTES);
}

/** node:crypto has one as well, but the daemon's command line would load that module. */
function randomBytes(count: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(count));
}
