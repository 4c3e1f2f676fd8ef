/** Giving memory back at a moment when much of it is known not to be needed. */

import { fullGC } from "bun:jsc";

/**
 * Frees what has been dropped, at the cost of some milliseconds for each ten megabytes that stay.
 * For what is read in pieces of megabytes of which little stays: JavaScriptCore would collect only
 * after the sixth of them, and the memory for six would stay resident.
 */
export function freeDroppedMemory(): void {
  fullGC();
}

/**
 * Collects garbage when the program is idle next, gives the empty pages of the heap back to the
 * system, and forgets compiled code, which is compiled again where it is used again.
 */
export function shrinkHeap(): void {
  Bun.shrink();
}
