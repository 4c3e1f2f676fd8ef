/** Calls a function for many items, some at a time. */

/**
 * One at a time, the shortest leases of a large network would expire before the last one is read.
 */
const AT_ONCE = 32;

/**
 * The results in the order of the items. Throws the first failure, and starts no further calls
 * then.
 */
export async function mapConcurrently<Item, Result>(
  items: readonly Item[],
  call: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let start = 0; start < items.length; start += AT_ONCE) {
    results.push(...await Promise.all(items.slice(start, start + AT_ONCE).map(call)));
  }
  return results;
}
