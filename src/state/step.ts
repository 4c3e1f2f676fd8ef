/** One change to the kernel's tables. */

import type { Link, Resource } from "./resource.ts";

export type Step =
  /**
   * Create, or replace the entry that holds the same key. A link is never replaced, nor is any
   * entry with `exclusive` (NLM_F_EXCL): when the key is held, the result is EEXIST.
   */
  | { readonly op: "set"; readonly resource: Resource; readonly exclusive?: boolean }
  /** Change attributes of an existing link in place: MTU, MAC, up. */
  | { readonly op: "change"; readonly resource: Link; readonly from: Link }
  /** Delete; absence is success. */
  | { readonly op: "delete"; readonly resource: Resource };
