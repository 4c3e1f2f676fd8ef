/** Reads of KV.Range: limits, filters and order (etcd's server/etcdserver/txn, `executeRange`). */

import type { RangeRequest } from "../subnet/etcd/rpc/rpc_pb.ts";
import {
  RangeRequest_SortOrder as SortOrder,
  RangeRequest_SortTarget as SortTarget,
} from "../subnet/etcd/rpc/rpc_pb.ts";
import type { Entry } from "./entry.ts";
import { compareKeys, keyRange } from "./key_range.ts";
import { Refusal } from "./refusal.ts";
import type { View } from "./store.ts";

export interface RangeAnswer {
  readonly kvs: readonly Entry[];
  /** The limit has cut off keys. */
  readonly more: boolean;
  /** How many keys the range holds, whatever limit and filters. */
  readonly count: bigint;
}

/** Throws `Refusal` for a request that makes no sense on any data. */
export function checkRange(request: RangeRequest): void {
  if (request.key.length === 0) throw new Refusal("emptyKey");
  if (SortOrder[request.sortOrder] === undefined || SortTarget[request.sortTarget] === undefined) {
    throw new Refusal("invalidSortOption");
  }
}

/** Throws `Refusal` for a revision that cannot be read. */
export function queryRange(view: View, request: RangeRequest): RangeAnswer {
  const { revision, limit, countOnly } = request;
  // What is ordered or filtered has to be complete. Without an order etcd takes the first keys of the
  // limit and only then sorts them by the target; one more key tells whether there are more.
  const isComplete = request.sortOrder !== SortOrder.NONE || isFiltered(request);
  const { entries, count } = view.read(keyRange(request.key, request.rangeEnd), {
    revision,
    countOnly,
    // A limit that cannot be counted beyond is none.
    limit: !isComplete && limit > 0n && limit < MAX_INT64 ? limit + 1n : 0n,
  });
  const chosen = sorted(isFiltered(request) ? filtered(entries, request) : entries, request);
  const more = limit > 0n && BigInt(chosen.length) > limit;
  const kept = more ? chosen.slice(0, Number(limit)) : chosen;
  const kvs = request.keysOnly ? kept.map((entry) => ({ ...entry, value: NO_VALUE })) : kept;
  return { kvs, more, count };
}

const NO_VALUE = new Uint8Array();
const MAX_INT64 = (1n << 63n) - 1n;

function isSorted({ sortOrder, sortTarget }: RangeRequest): boolean {
  return sortOrder !== SortOrder.NONE || sortTarget !== SortTarget.KEY;
}

function isFiltered(request: RangeRequest): boolean {
  return request.minModRevision !== 0n || request.maxModRevision !== 0n ||
    request.minCreateRevision !== 0n || request.maxCreateRevision !== 0n;
}

/** A bound of 0 is none. */
function filtered(entries: readonly Entry[], request: RangeRequest): Entry[] {
  const isWithin = (value: bigint, min: bigint, max: bigint) =>
    (min === 0n || value >= min) && (max === 0n || value <= max);
  return entries.filter(({ modRevision, createRevision }) =>
    isWithin(modRevision, request.minModRevision, request.maxModRevision) &&
    isWithin(createRevision, request.minCreateRevision, request.maxCreateRevision)
  );
}

/** A target without an order means ascending. Equal keys keep the order of their names. */
function sorted(entries: readonly Entry[], request: RangeRequest): readonly Entry[] {
  if (!isSorted(request)) return entries;
  const compare = COMPARISONS[request.sortTarget];
  const isDescending = request.sortOrder === SortOrder.DESCEND;
  return entries.toSorted(isDescending ? (a, b) => compare(b, a) : compare);
}

const COMPARISONS: Readonly<Record<SortTarget, (a: Entry, b: Entry) => number>> = {
  [SortTarget.KEY]: (a, b) => compareKeys(a.key, b.key),
  [SortTarget.VERSION]: (a, b) => compareNumbers(a.version, b.version),
  [SortTarget.CREATE]: (a, b) => compareNumbers(a.createRevision, b.createRevision),
  [SortTarget.MOD]: (a, b) => compareNumbers(a.modRevision, b.modRevision),
  [SortTarget.VALUE]: (a, b) => compareKeys(a.value, b.value),
};

function compareNumbers(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
