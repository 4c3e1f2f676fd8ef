/** Binary search over anything that is ordered by index. */

/**
 * The first index in [0, `length`) for which `isAtOrAfter` is true, or `length` if there is none. Once
 * true, it must be true for every later index.
 */
export function lowerBound(length: number, isAtOrAfter: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isAtOrAfter(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
