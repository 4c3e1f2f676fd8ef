/** KV.Range: limits, filters and order (etcd's server/etcdserver/txn, `executeRange`). */

import type { RangeRequest } from "../../etcd/api/rpc_pb.ts";
import {
  RangeRequest_SortOrder as SortOrder,
  RangeRequest_SortTarget as SortTarget,
} from "../../etcd/api/rpc_pb.ts";
import type { RevisionEntry } from "./revision_entry.ts";
import { compareKeys, type KeyInterval, keyInterval } from "./key_interval.ts";
import { costOf } from "./read_cost.ts";
import { RequestError } from "./request_error.ts";
import type { Size } from "./storage.ts";
import type { Page, ReadView, Snapshot } from "./mvcc_store.ts";

export interface RangeQueryResult {
  readonly kvs: readonly RevisionEntry[];
  /** There are more keys than the limit. */
  readonly more: boolean;
  /** Number of keys in the range, regardless of limit and filters. */
  readonly count: bigint;
}

/** Throws `RequestError` for a request that is invalid regardless of the data. */
export function validateRange(request: RangeRequest): void {
  if (request.key.length === 0) throw new RequestError("emptyKey");
  if (SortOrder[request.sortOrder] === undefined || SortTarget[request.sortTarget] === undefined) {
    throw new RequestError("invalidSortOption");
  }
}

/** Reads at once, for transactions. Throws `RequestError` for a revision that cannot be read. */
export function queryRange(view: ReadView, request: RangeRequest): RangeQueryResult {
  const { revision, countOnly, keysOnly } = request;
  const limit = isLimited(request) ? request.limit : 0n;
  const { entries, count } = view.read(keyInterval(request.key, request.rangeEnd), {
    revision,
    countOnly,
    keysOnly: keysOnly && !needsValues(request),
    // One more key than the limit shows whether there are more.
    limit: !needsAll(request) && limit > 0n ? limit + 1n : 0n,
  });
  const chosen = sorted(filtered(entries, request), request);
  const more = limit > 0n && BigInt(chosen.length) > limit;
  const kvs = more ? chosen.slice(0, Number(limit)) : chosen;
  return { kvs: keysOnly ? kvs.map(withoutValue) : kvs, more, count };
}

export interface Slicing {
  /** Called with the total cost before anything is read. Rejects to reject the call. */
  readonly admit: (cost: number) => Promise<void> | undefined;
  /** Receives the next part of the response. */
  readonly emit: (kvs: readonly RevisionEntry[]) => void;
  /** Lets other calls run. */
  readonly pause: () => Promise<void>;
}

/** Takes about a millisecond. */
const SLICE = { keys: 250, bytes: 256 << 10 };
/** More than in a slice: measuring is faster than reading. */
const MEASURED_KEYS = 2_500;

/** Like `queryRange`, but reads in slices and emits the keys. */
export async function sliceRange(
  snapshot: Snapshot,
  request: RangeRequest,
  slicing: Slicing,
): Promise<Omit<RangeQueryResult, "kvs">> {
  const range = keyInterval(request.key, request.rangeEnd);
  if (request.countOnly) {
    const { keys } = await measure(snapshot, range, { limit: 0, keysOnly: true }, slicing);
    return { more: false, count: BigInt(keys) };
  }
  const limit = isLimited(request) ? Number(request.limit) : Infinity;
  const keysOnly = request.keysOnly && !needsValues(request);
  const isStreamed = !isSorted(request) && !isFiltered(request);
  const keys = needsAll(request) ? Infinity : isStreamed ? limit : limit + 1;
  // Reads nothing before there is room for it: thousands of calls may wait.
  const size = await measure(snapshot, range, { limit: keys, keysOnly }, slicing);
  await slicing.admit(costOf({ keys: Math.min(size.keys, keys), bytes: size.bytes }));
  const read: RevisionEntry[] = [];
  let left = keys;
  for (let rest: KeyInterval | undefined = range; rest !== undefined && left > 0;) {
    const page: Page = snapshot.page(rest, {
      ...SLICE,
      keys: Math.min(left, SLICE.keys),
      keysOnly,
    });
    left -= page.entries.length;
    if (isStreamed) slicing.emit(page.entries);
    else for (const entry of filtered(page.entries, request)) read.push(entry);
    rest = page.rest;
    if (rest !== undefined && left > 0) await slicing.pause();
  }
  if (isStreamed) return { more: size.keys > limit, count: BigInt(size.keys) };
  const chosen = sorted(read, request);
  await emitAll(chosen.slice(0, limit), request, slicing);
  return { more: chosen.length > limit, count: BigInt(size.keys) };
}

/** The number of keys in the range, and the bytes of the first `limit` ones. */
async function measure(
  snapshot: Snapshot,
  range: KeyInterval,
  { limit, keysOnly }: { limit: number; keysOnly: boolean },
  { pause }: Slicing,
): Promise<Size> {
  let [keys, bytes] = [0, 0];
  for (let rest: KeyInterval | undefined = range; rest !== undefined;) {
    const within = limit - keys;
    const part = snapshot.measure(rest, {
      keys: within > 0 ? Math.min(within, MEASURED_KEYS) : MEASURED_KEYS,
      keysOnly,
    });
    keys += part.keys;
    if (within > 0) bytes += part.bytes;
    rest = part.rest;
    if (rest !== undefined) await pause();
  }
  return { keys, bytes };
}

async function emitAll(
  entries: readonly RevisionEntry[],
  { keysOnly }: RangeRequest,
  { emit, pause }: Slicing,
): Promise<void> {
  for (let start = 0; start < entries.length; start += SLICE.keys) {
    const kvs = entries.slice(start, start + SLICE.keys);
    emit(keysOnly ? kvs.map(withoutValue) : kvs);
    await pause();
  }
}

function withoutValue(entry: RevisionEntry): RevisionEntry {
  return { ...entry, value: NO_VALUE };
}

/** The largest 64-bit limit means none: one more could not be represented. */
function isLimited({ limit }: RangeRequest): boolean {
  return limit > 0n && limit < MAX_INT64;
}

/**
 * With an order or a filter, all keys are read before the limit is applied. Without an order, etcd
 * takes the first keys, one more than the limit, and only then sorts them by the target.
 */
function needsAll(request: RangeRequest): boolean {
  return (isSorted(request) && request.sortOrder !== SortOrder.NONE) || isFiltered(request);
}

function needsValues({ sortTarget }: RangeRequest): boolean {
  return sortTarget === SortTarget.VALUE;
}

const NO_VALUE = new Uint8Array();
const MAX_INT64 = (1n << 63n) - 1n;

/** Whether the requested order differs from that of the keys. */
function isSorted({ sortOrder, sortTarget }: RangeRequest): boolean {
  return sortOrder === SortOrder.DESCEND || sortTarget !== SortTarget.KEY;
}

function isFiltered(request: RangeRequest): boolean {
  return request.minModRevision !== 0n || request.maxModRevision !== 0n ||
    request.minCreateRevision !== 0n || request.maxCreateRevision !== 0n;
}

/** A bound of 0 means no bound. */
function filtered(
  entries: readonly RevisionEntry[],
  request: RangeRequest,
): readonly RevisionEntry[] {
  if (!isFiltered(request)) return entries;
  const isWithin = (value: bigint, min: bigint, max: bigint) =>
    (min === 0n || value >= min) && (max === 0n || value <= max);
  return entries.filter(({ modRevision, createRevision }) =>
    isWithin(modRevision, request.minModRevision, request.maxModRevision) &&
    isWithin(createRevision, request.minCreateRevision, request.maxCreateRevision)
  );
}

/** A target without an order means ascending. Equal entries keep the order of their keys. */
function sorted(
  entries: readonly RevisionEntry[],
  request: RangeRequest,
): readonly RevisionEntry[] {
  if (!isSorted(request)) return entries;
  const compare = COMPARISONS[request.sortTarget];
  const isDescending = request.sortOrder === SortOrder.DESCEND;
  return entries.toSorted(isDescending ? (a, b) => compare(b, a) : compare);
}

const COMPARISONS: Readonly<Record<SortTarget, (a: RevisionEntry, b: RevisionEntry) => number>> = {
  [SortTarget.KEY]: (a, b) => compareKeys(a.key, b.key),
  [SortTarget.VERSION]: (a, b) => compareNumbers(a.version, b.version),
  [SortTarget.CREATE]: (a, b) => compareNumbers(a.createRevision, b.createRevision),
  [SortTarget.MOD]: (a, b) => compareNumbers(a.modRevision, b.modRevision),
  [SortTarget.VALUE]: (a, b) => compareKeys(a.value, b.value),
};

function compareNumbers(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
