/** What a watch reports to its client. */

import { type Change, changedKey, type RevisionEntry } from "./revision_entry.ts";

/** A change as one watch reports it. */
export interface WatchEvent {
  readonly change: Change;
  /** The key at the revision before, for watches that request it. */
  readonly previous: RevisionEntry | undefined;
}

/** A message to the client. It has received all changes up to `revision` when this arrives. */
export type WatchOutput =
  | { readonly kind: "created"; readonly id: bigint; readonly revision: bigint }
  | { readonly kind: "refused"; readonly reason: string; readonly revision: bigint }
  | {
    readonly kind: "events";
    readonly id: bigint;
    readonly revision: bigint;
    readonly events: readonly WatchEvent[];
  }
  /** `id` is -1n in the response to a request, which concerns every watch of the stream. */
  | { readonly kind: "progress"; readonly id: bigint; readonly revision: bigint }
  | { readonly kind: "cancelled"; readonly id: bigint; readonly revision: bigint }
  /** `compactRevision` is the first revision that can still be watched. */
  | { readonly kind: "compacted"; readonly id: bigint; readonly compactRevision: bigint };

/** Bytes of the keys and values of an event. */
export function sizeOf({ change, previous }: WatchEvent): number {
  const value = change.kind === "put" ? change.entry.value.length : 0;
  const before = previous === undefined ? 0 : previous.key.length + previous.value.length;
  return changedKey(change).length + value + before;
}

export function sizeOfAll(events: readonly WatchEvent[]): number {
  return events.reduce((sum, event) => sum + sizeOf(event), 0);
}
