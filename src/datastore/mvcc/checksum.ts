/**
 * The checksum of each stored row: zlib's CRC-32 of its numbers, key and value. SQLite detects
 * damage to its structure, but not to the content.
 */

import { crc32 } from "node:zlib";
import type { RevisionEntry } from "./revision_entry.ts";

const numbers = Buffer.alloc(40);

export function checksumOf(entry: RevisionEntry): bigint {
  const { key, value, createRevision, modRevision, version, lease } = entry;
  numbers.writeBigInt64LE(createRevision, 0);
  numbers.writeBigInt64LE(modRevision, 8);
  numbers.writeBigInt64LE(version, 16);
  numbers.writeBigInt64LE(lease, 24);
  // Marks the boundary between key and value.
  numbers.writeBigInt64LE(BigInt(key.length), 32);
  return BigInt(crc32(value, crc32(key, crc32(numbers))));
}
