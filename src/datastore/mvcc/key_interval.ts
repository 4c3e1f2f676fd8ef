/** Keys as bytes, and intervals of them: the ranges of etcd's API. */

/** The keys from `start` up to, but not including, `end`; without `end`, all from `start` on. */
export interface KeyInterval {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

/**
 * The interval of a request: an empty `rangeEnd` means the single key, one zero byte means no end
 * (etcd's api/etcdserverpb/rpc.proto, RangeRequest).
 */
export function keyInterval(key: Uint8Array, rangeEnd: Uint8Array): KeyInterval {
  if (rangeEnd.length === 0) return singleKey(key);
  return { start: key, end: rangeEnd.length === 1 && rangeEnd[0] === 0 ? undefined : rangeEnd };
}

/** The interval of this key only. */
export function singleKey(key: Uint8Array): KeyInterval {
  return { start: key, end: keyAfter(key) };
}

/** The immediate successor of a key. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

export const ALL_KEYS: KeyInterval = { start: new Uint8Array(), end: undefined };

export function containsKey({ start, end }: KeyInterval, key: Uint8Array): boolean {
  return compareKeys(start, key) <= 0 && (end === undefined || compareKeys(key, end) < 0);
}

/** Less than, equal to or greater than 0, as memcmp(3): a key comes after its prefixes. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** A key as text, for maps: one character per byte. */
export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
}
