/** Garbage collection at a moment when most of the memory is known to be garbage. */

import { fullGC } from "bun:jsc";

/**
 * Frees what has been dropped, at the cost of some milliseconds for each ten megabytes that stay.
 * For what is read in pieces of megabytes of which little stays: JavaScriptCore would collect only
 * after the sixth of them, and the memory for six would stay resident.
 */
export function freeDroppedMemory(): void {
  fullGC();
}
