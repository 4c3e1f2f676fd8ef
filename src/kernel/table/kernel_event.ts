/** What watchers of the kernel's tables are notified of. */

import type { Resource } from "../../state/resource.ts";

export type KernelEvent =
  /**
   * An entry was added or changed (`deleted` false), or removed. A link has its new attributes; of
   * a removed entry only the fields of its key are valid.
   */
  | { readonly kind: "changed"; readonly resource: Resource; readonly deleted: boolean }
  /** Notifications were lost: everything known of the tables may be out of date. */
  | { readonly kind: "overrun" };

export type KernelListener = (event: KernelEvent) => void;
