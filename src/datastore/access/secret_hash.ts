/** Hashes of secrets that are random and have at least 128 bits, so that one round is enough. */

import { createHash, timingSafeEqual } from "node:crypto";

/** SHA-256 in base64url. */
export function secretHash(secret: string): string {
  return createHash("sha256").update(secret).digest("base64url");
}

/** Takes the same time whether or not they match, and if there is nothing to compare with. */
export function matchesHash(secret: string, hash: string | undefined): boolean {
  const given = createHash("sha256").update(secret).digest();
  const stored = Buffer.from(hash ?? "", "base64url");
  const comparable = stored.length === given.length ? stored : Buffer.alloc(given.length);
  return timingSafeEqual(given, comparable) && comparable === stored;
}
