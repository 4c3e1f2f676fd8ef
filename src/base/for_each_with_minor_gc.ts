/**
 * Work on very many things at once, of which something stays and much is thrown away.
 *
 * The garbage collector does not move objects, so that a page on which one object lives stays
 * resident. It runs when much has been allocated: what stays of ten thousand leases would lie
 * scattered over all the memory that reading them went through. Collected in between, garbage makes
 * room for what comes next, which costs next to nothing, for only what is new is looked at.
 */

import { edenGC } from "bun:jsc";

const PORTION = 1000;

/** Visits the items in order, and collects the garbage of each thousand before the next. */
export function forEachWithMinorGc<T>(items: Iterable<T>, visit: (item: T) => void): void {
  let visited = 0;
  for (const item of items) {
    visit(item);
    if (++visited % PORTION === 0) edenGC();
  }
}
