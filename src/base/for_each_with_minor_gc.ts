/**
 * Iterates over tens of thousands of items, such as leases, when little of what is allocated for
 * each item stays.
 *
 * JavaScriptCore does not move objects, so a page with one live object stays resident, and it
 * collects garbage only after many allocations. What stays of ten thousand leases would be
 * scattered over all the memory that was used to read them. A minor collection in between frees
 * that memory for the next items. It is cheap because it visits only new objects.
 */

import { edenGC } from "bun:jsc";

const ITEMS_PER_COLLECTION = 1000;

/** Visits the items in order, with a minor garbage collection after each thousand. */
export function forEachWithMinorGc<T>(items: Iterable<T>, visit: (item: T) => void): void {
  let visited = 0;
  for (const item of items) {
    visit(item);
    if (++visited % ITEMS_PER_COLLECTION === 0) edenGC();
  }
}
