/**
 * Consistency checks of etcd's responses.
 *
 * Revisions decide where a watch resumes, keys whose lease is read, and times to live when a
 * lease is renewed. With invalid ones, a damaged member, a proxy that mixes up responses, or an
 * attacker could make a node miss changes or exit, so they are checked before use. What other
 * clients write (values, lease IDs, keys with the prefix that are not UTF-8) is not checked here.
 */

import { quoted } from "../../base/quoting.ts";
import type { EtcdOperation, KeyRange, Transaction } from "./etcd.ts";
import type {
  EtcdResponseHeader,
  GrantReply,
  KeyEvent,
  RangeReply,
  StoredKeyValue,
  TimeToLiveReply,
  TransactionReply,
} from "./etcd_messages.ts";

/** An invalid response; the message names the value. */
export class InvalidResponseError extends Error {
  override readonly name = "InvalidResponseError";
}

/** With a million changes per second, a store reaches this after 146 000 years. */
const REVISION_LIMIT = 1n << 62n;
/** The longest that etcd grants (MaxLeaseTTL in etcd's lease/lessor.go). */
const TTL_LIMIT_SECONDS = 9_000_000_000n;
const SHOWN_KEY_LENGTH = 200;

/** The store's revision, from the header of a response. */
export function checkedRevision(header: EtcdResponseHeader | undefined): bigint {
  if (header === undefined) throw new InvalidResponseError("etcd's response has no header");
  const { revision } = header;
  if (revision < 1n || revision >= REVISION_LIMIT) {
    throw new InvalidResponseError(`etcd's response has the invalid revision ${revision}`);
  }
  return revision;
}

export function checkRange(response: RangeReply, request: KeyRange): void {
  checkKeyValues(response, request, checkedRevision(response.header));
}

export function checkTransaction(response: TransactionReply, transaction: Transaction): void {
  const revision = checkedRevision(response.header);
  const operations = response.succeeded ? transaction.success : transaction.failure ?? [];
  const { responses } = response;
  if (responses.length !== operations.length) {
    throw new InvalidResponseError(
      `etcd's response has ${responses.length} results for ${operations.length} operations`,
    );
  }
  for (const [index, operation] of operations.entries()) {
    const result = responses[index]?.response;
    if (result?.case !== resultCase(operation)) {
      throw new InvalidResponseError(
        `etcd's response has a ${result?.case} for ${textOf(operation)}`,
      );
    }
    if (result.case === "responseRange" && "range" in operation) {
      checkKeyValues(result.value, operation.range, revision);
    }
  }
}

/** Checks an event of a watch that has received everything before the revision `next`. */
export function checkEvent(
  { kv }: KeyEvent,
  { prefix, next, revision }: { prefix: Uint8Array; next: bigint; revision: bigint },
): StoredKeyValue {
  if (kv === undefined) throw new InvalidResponseError("etcd sent an event without a key");
  if (!startsWith(kv.key, prefix)) {
    throw new InvalidResponseError(
      `etcd sent an event of ${keyText(kv.key)}, which is not watched`,
    );
  }
  if (kv.modRevision < next) {
    throw new InvalidResponseError(
      `etcd sent an event of ${keyText(kv.key)} at revision ${kv.modRevision} after one at ${
        next - 1n
      }`,
    );
  }
  if (kv.modRevision > revision || kv.createRevision > kv.modRevision) {
    throw new InvalidResponseError(
      `etcd sent an event of ${keyText(kv.key)} at the invalid revision ${kv.modRevision}: ` +
        `it was created at ${kv.createRevision}, and the store is at ${revision}`,
    );
  }
  return kv;
}

/** Checks the ID and the time to live of a granted lease; with `id` 0n etcd has chosen the ID. */
export function checkGrant({ ID, TTL, error }: GrantReply, id: bigint): void {
  if (error !== "") throw new InvalidResponseError(`etcd granted no lease: ${quoted(error)}`);
  if (ID === 0n || (id !== 0n && ID !== id)) {
    throw new InvalidResponseError(`etcd granted the lease ${hex(ID)} instead of ${hex(id)}`);
  }
  if (TTL < 1n) throw new InvalidResponseError(`etcd granted the lease ${hex(ID)} for ${TTL} s`);
  checkTtl(TTL);
}

/** Checks the remaining time of a lease; 0 or less if it has expired or is about to. */
export function checkTtl(seconds: bigint): void {
  if (seconds > TTL_LIMIT_SECONDS) {
    throw new InvalidResponseError(`etcd's response has the invalid time to live ${seconds} s`);
  }
}

/** Checks the remaining and the granted time of a lease. */
export function checkTimes({ TTL, grantedTTL }: TimeToLiveReply): void {
  checkTtl(TTL);
  checkTtl(grantedTTL);
  if (TTL >= 0n && grantedTTL < 1n) {
    throw new InvalidResponseError(
      `etcd's response has a lease that was granted for ${grantedTTL} s`,
    );
  }
}

/** Checks that a response is about the lease that was requested. */
export function checkLeaseId(received: bigint, requested: bigint): void {
  if (received === requested) return;
  throw new InvalidResponseError(
    `etcd responded for lease ${hex(received)} instead of ${hex(requested)}`,
  );
}

export function hex(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16);
}

function checkKeyValues(
  { kvs, more, count }: RangeReply,
  request: KeyRange,
  revision: bigint,
): void {
  if (more || count > BigInt(kvs.length)) {
    throw new InvalidResponseError(`etcd's response is incomplete: ${kvs.length} of ${count} keys`);
  }
  const key = new TextEncoder().encode(request.key);
  for (const keyValue of kvs) {
    const isAsked = request.prefix ? startsWith(keyValue.key, key) : isEqual(keyValue.key, key);
    if (!isAsked) {
      throw new InvalidResponseError(
        `etcd returned the key ${keyText(keyValue.key)}, which was not requested`,
      );
    }
    checkRevisions(keyValue, revision);
  }
  if (!request.prefix && kvs.length > 1) {
    throw new InvalidResponseError(`etcd returned ${kvs.length} values for ${keyText(key)}`);
  }
}

function checkRevisions(
  { key, createRevision, modRevision }: StoredKeyValue,
  revision: bigint,
): void {
  if (createRevision >= 1n && modRevision >= createRevision && modRevision <= revision) return;
  throw new InvalidResponseError(
    `etcd's response has invalid revisions: ${keyText(key)} was created at ${createRevision} ` +
      `and changed at ${modRevision}, and the store is at ${revision}`,
  );
}

function resultCase(operation: EtcdOperation): string {
  if ("put" in operation) return "responsePut";
  return "delete" in operation ? "responseDeleteRange" : "responseRange";
}

function textOf(operation: EtcdOperation): string {
  return Object.keys(operation)[0] ?? "nothing";
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  return isEqual(key.subarray(0, prefix.length), prefix);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function keyText(key: Uint8Array): string {
  return quoted(new TextDecoder().decode(key.subarray(0, 4 * SHOWN_KEY_LENGTH)), SHOWN_KEY_LENGTH);
}
