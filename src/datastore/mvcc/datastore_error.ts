/** The datastore cannot start or go on: the text says why, and what to do about it. */
export class DatastoreError extends Error {
  override readonly name = "DatastoreError";
}
