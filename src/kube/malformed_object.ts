import { OperatorError } from "../base/operator_error.ts";

/** A value is not what the API promises. The message says which member, as `spec is 1, not …`. */
export class MalformedObject extends OperatorError {
  override readonly name = "MalformedObject";
}
