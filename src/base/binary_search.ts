/** Binary search over anything ordered by index, for tables of thousands of peers. */

/**
 * The first index in [0, `length`) for which `isAtOrAfter` is true, or `length` if there is none.
 * If it is true for an index, it has to be true for all later ones.
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
