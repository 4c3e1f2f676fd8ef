/** Keys as bytes, and ranges of them as etcd's API writes them. */

/** All keys from `start` on that lie before `end`; without `end`, all from `start` on. */
export interface KeyRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

/**
 * The range of a request: an empty `rangeEnd` stands for the one key, a single zero byte for no end
 * (etcd's api/etcdserverpb/rpc.proto, RangeRequest).
 */
export function keyRange(key: Uint8Array, rangeEnd: Uint8Array): KeyRange {
  if (rangeEnd.length === 0) return singleKey(key);
  return { start: key, end: rangeEnd.length === 1 && rangeEnd[0] === 0 ? undefined : rangeEnd };
}

/** The range that holds this key alone. */
export function singleKey(key: Uint8Array): KeyRange {
  return { start: key, end: keyAfter(key) };
}

/** The immediate successor of a key. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

export const ALL_KEYS: KeyRange = { start: new Uint8Array(), end: undefined };

export function containsKey({ start, end }: KeyRange, key: Uint8Array): boolean {
  return compareKeys(start, key) <= 0 && (end === undefined || compareKeys(key, end) < 0);
}

/** Below, at or above 0, as in memcmp(3): a key comes after its own beginning. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** A key as an index of maps: one character for each byte. */
export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
}
