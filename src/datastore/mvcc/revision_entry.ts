/** Keys, revisions and versions, as in etcd's data model. */

/** A key with its value at a revision. The names are those of etcd's `KeyValue` message. */
export interface RevisionEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Revision of the put that created the key. */
  readonly createRevision: bigint;
  /** Revision of the last put. */
  readonly modRevision: bigint;
  /** Number of puts since creation. */
  readonly version: bigint;
  /** ID of the attached lease, 0n for none. */
  readonly lease: bigint;
}

/** One change in the history. The changes of a transaction share a revision. */
export type Change =
  | { readonly kind: "put"; readonly revision: bigint; readonly entry: RevisionEntry }
  | { readonly kind: "delete"; readonly revision: bigint; readonly key: Uint8Array };

export function changedKey(change: Change): Uint8Array {
  return change.kind === "put" ? change.entry.key : change.key;
}
