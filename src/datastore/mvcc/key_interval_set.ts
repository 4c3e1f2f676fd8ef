/** A set of keys as disjoint intervals, with lookup in logarithmic time. */

import { lowerBound } from "../../base/binary_search.ts";
import { compareKeys, containsKey, type KeyInterval } from "./key_interval.ts";

export class KeyIntervalSet {
  /** In order; between two neighbours there is a key that is in neither. */
  readonly #intervals: KeyInterval[] = [];

  has(key: Uint8Array): boolean {
    const after = this.#firstIndex(({ start }) => compareKeys(start, key) > 0);
    const range = this.#intervals[after - 1];
    return range !== undefined && containsKey(range, key);
  }

  add(range: KeyInterval): void {
    if (range.end !== undefined && compareKeys(range.end, range.start) <= 0) return; // empty
    const first = this.#firstIndex(({ end }) =>
      end === undefined || compareKeys(end, range.start) >= 0
    );
    const after = this.#firstIndex(({ start }) =>
      range.end !== undefined && compareKeys(start, range.end) > 0
    );
    const [low, high] = [this.#intervals[first], this.#intervals[after - 1]];
    const isAlone = low === undefined || high === undefined || first === after;
    const merged = isAlone ? range : {
      start: compareKeys(low.start, range.start) < 0 ? low.start : range.start,
      end: laterEnd(high.end, range.end),
    };
    this.#intervals.splice(first, after - first, merged);
  }

  addAll(other: KeyIntervalSet): void {
    for (const interval of other.#intervals) this.add(interval);
  }

  /** The index of the first interval that is behind a point, as all that follow it are. */
  #firstIndex(isBehind: (interval: KeyInterval) => boolean): number {
    return lowerBound(
      this.#intervals.length,
      (index) => isBehind(this.#intervals[index] as KeyInterval),
    );
  }
}

function laterEnd(a: KeyInterval["end"], b: KeyInterval["end"]): KeyInterval["end"] {
  if (a === undefined || b === undefined) return undefined;
  return compareKeys(a, b) > 0 ? a : b;
}
