import { OperatorError } from "../base/operator_error.ts";

/** The query of a request is invalid: the client gets status 400 and the message. */
export class QueryError extends OperatorError {
  override readonly name = "QueryError";
}
