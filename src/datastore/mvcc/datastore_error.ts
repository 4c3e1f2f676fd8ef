import { OperatorError } from "../../base/operator_error.ts";

/** The datastore cannot start or continue. The message says why, and what to do. */
export class DatastoreError extends OperatorError {
  override readonly name = "DatastoreError";
}
