import { OperatorError } from "../base/operator_error.ts";

/** The backend cannot work on this machine as it is. The message says what to do. */
export class BackendError extends OperatorError {
  override readonly name = "BackendError";
}
