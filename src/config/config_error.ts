/** The error for wrong input from an operator. */

import { OperatorError } from "../base/operator_error.ts";

/** The message names the setting, where it is, its value and what to do, in one line. */
export class ConfigError extends OperatorError {
  override readonly name = "ConfigError";
}
