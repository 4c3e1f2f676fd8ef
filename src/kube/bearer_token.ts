/** Bearer tokens (RFC 6750) from files and kubeconfigs. No message contains one. */

import { readRegularText } from "../base/regular_file.ts";
import { RereadFiles, type RereadOutcome } from "../base/reread_files.ts";

/** A service account's token is replaced in its file before it expires. */
export function tokenFile(
  path: string,
  { outcome }: { readonly outcome: RereadOutcome | undefined },
): RereadFiles<string> {
  return new RereadFiles({
    paths: [path],
    read: () => checkedToken(readRegularText(path, MAX_TOKEN_BYTES), path),
    outcome,
  });
}

/**
 * The token without the white space around it. Throws if it cannot be sent, which `fetch` would
 * refuse with a message that contains it.
 */
export function checkedToken(text: string, place: string): string {
  const token = text.trim();
  if (token === "") throw new Error(`${place} is empty, and should contain a token`);
  if (/[^\x21-\x7e]/.test(token)) {
    throw new Error(`${place} contains spaces, line ends or other characters that no token has`);
  }
  return token;
}

export function bearer(token: string): string {
  return `Bearer ${token}`;
}

/** Tokens of clouds, with all their claims, have a few kilobytes. */
const MAX_TOKEN_BYTES = 64 * 1024;
