/** A set of keys made of ranges, where a question costs the logarithm of their number. */

import { compareKeys, containsKey, type KeyRange } from "./key_range.ts";

export class KeyRangeSet {
  /** In order; between each two lies a key that is in neither. */
  readonly #ranges: KeyRange[] = [];

  has(key: Uint8Array): boolean {
    const after = this.#firstIndex(({ start }) => compareKeys(start, key) > 0);
    const range = this.#ranges[after - 1];
    return range !== undefined && containsKey(range, key);
  }

  add(range: KeyRange): void {
    if (range.end !== undefined && compareKeys(range.end, range.start) <= 0) return; // holds no key
    const first = this.#firstIndex(({ end }) =>
      end === undefined || compareKeys(end, range.start) >= 0
    );
    const after = this.#firstIndex(({ start }) =>
      range.end !== undefined && compareKeys(start, range.end) > 0
    );
    const [low, high] = [this.#ranges[first], this.#ranges[after - 1]];
    const isAlone = low === undefined || high === undefined || first === after;
    const merged = isAlone ? range : {
      start: compareKeys(low.start, range.start) < 0 ? low.start : range.start,
      end: laterEnd(high.end, range.end),
    };
    this.#ranges.splice(first, after - first, merged);
  }

  addAll(other: KeyRangeSet): void {
    for (const range of other.#ranges) this.add(range);
  }

  /** The index of the first range for which `isBehind` holds, as it does for all that follow it. */
  #firstIndex(isBehind: (range: KeyRange) => boolean): number {
    let [low, high] = [0, this.#ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBehind(this.#ranges[middle] as KeyRange)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function laterEnd(a: KeyRange["end"], b: KeyRange["end"]): KeyRange["end"] {
  if (a === undefined || b === undefined) return undefined;
  return compareKeys(a, b) > 0 ? a : b;
}
