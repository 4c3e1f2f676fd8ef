import { OperatorError } from "../base/operator_error.ts";

/** A query of a request has no meaning: the client gets status 400 and the message. */
export class QueryError extends OperatorError {
  override readonly name = "QueryError";
}
