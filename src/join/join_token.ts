/**
 * The token with which a node joins a datastore: which CA to trust, and the secret that admits it.
 * Its text begins with F1 (checked_text.ts).
 */

import { parseIpAddress } from "../addr/ip.ts";
import {
  type CheckedText,
  newCheckedText,
  parseCheckedText,
  type TextKind,
  writeCheckedText,
} from "./checked_text.ts";

export interface JoinToken {
  /** Six characters; not secret. */
  readonly id: string;
  /** See `caFingerprint`. */
  readonly fingerprint: string;
  /** 16 random bytes in base64url. */
  readonly secret: string;
}

/** Where a datastore is. */
export interface JoinAddress {
  /** A name or an address, an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Where a datastore is, and the token that it admits. */
export interface JoinTarget extends JoinAddress {
  readonly token: JoinToken;
}

/** The port of the datastore unless another one is given. */
export const DATASTORE_PORT = 2379;

const TOKEN: TextKind = { letter: "F", noun: "the token" };

/** A token with a new ID and a new secret. */
export function newJoinToken(fingerprint: string): JoinToken {
  return tokenOf(newCheckedText(fingerprint));
}

export function joinTokenText({ id, fingerprint, secret }: JoinToken): string {
  return writeCheckedText(TOKEN, { id, anchor: fingerprint, secret });
}

/** Reads a token; otherwise what is wrong with it, as a sentence about "the token". */
export function parseJoinToken(text: string): JoinToken | { readonly problem: string } {
  if (text.startsWith("D1.")) {
    return { problem: "the token is the secret of a datastore, which no node may have" };
  }
  const read = parseCheckedText(TOKEN, text);
  return "problem" in read ? read : tokenOf(read);
}

function tokenOf({ id, anchor, secret }: CheckedText): JoinToken {
  return { id, fingerprint: anchor, secret };
}

/** `TOKEN@HOST` or `TOKEN@HOST:PORT`, as `flanneld --join` takes it. */
export function joinTargetText({ token, host, port }: JoinTarget): string {
  const bracketed = host.includes(":") ? `[${host}]` : host;
  return `${joinTokenText(token)}@${bracketed}${port === DATASTORE_PORT ? "" : `:${port}`}`;
}

/** Reads `TOKEN@HOST[:PORT]`; otherwise what is wrong with it, without the token. */
export function parseJoinTarget(text: string): JoinTarget | { readonly problem: string } {
  const at = text.lastIndexOf("@");
  if (at < 0) {
    const token = parseJoinToken(text);
    return { problem: "problem" in token ? token.problem : "the address is missing" };
  }
  const token = parseJoinToken(text.slice(0, at));
  if ("problem" in token) return token;
  const address = parseJoinAddress(text.slice(at + 1));
  if (address !== undefined) return { token, ...address };
  return { problem: "what follows the token is not @HOST, @HOST:PORT or @[IPV6]:PORT" };
}

/** Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`. */
export function parseJoinAddress(text: string): JoinAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const [, bracketed, plain = "", digits] = match ?? [];
  const host = bracketed ?? plain;
  const isValid = bracketed === undefined ? isNameOrIpv4(plain) : isIpv6(bracketed);
  const port = digits === undefined ? DATASTORE_PORT : Number(digits);
  return !isValid || port < 1 || port > 65_535 ? undefined : { host, port };
}

function isIpv6(text: string): boolean {
  return text.includes(":") && parseIpAddress(text) !== undefined;
}

/** What looks like an IPv4 address must be one. */
function isNameOrIpv4(text: string): boolean {
  if (/^[\d.]*$/.test(text)) return parseIpAddress(text) !== undefined;
  return text.replace(/\.$/, "").split(".").every((label) => /^\w+(?:-+\w+)*$/.test(label));
}
