import { OperatorError } from "../../base/operator_error.ts";

/** The datastore cannot start or go on: the text says why, and what to do about it. */
export class DatastoreError extends OperatorError {
  override readonly name = "DatastoreError";
}
