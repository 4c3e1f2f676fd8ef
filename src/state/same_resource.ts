/** Whether the kernel holds what is desired. */

import { kindOf, type Resource } from "./resource.ts";

/** Whether an actual entry satisfies the desired one of the same key. */
export function sameResource(desired: Resource, actual: Resource): boolean {
  return desired === actual ||
    desired.kind === actual.kind && kindOf(desired).isSame(desired, actual);
}

/**
 * Whether two entries are alike in every respect. `sameResource` also accepts what the kernel made
 * of a desired entry, such as a learned endpoint.
 */
export function equalResources(a: Resource, b: Resource): boolean {
  return a === b || sameResource(a, b) && sameResource(b, a);
}
