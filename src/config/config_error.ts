import { OperatorError } from "../base/operator_error.ts";

/** Input from a user that cannot be used: what, where, the value, what to do, in one line. */
export class ConfigError extends OperatorError {
  override readonly name = "ConfigError";
}
