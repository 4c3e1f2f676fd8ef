/** The error for wrong input from an operator. */

import { OperatorError } from "../base/operator_error.ts";

/** The message names the setting, where it is, its value and what to do, in one line. */
export class ConfigError extends OperatorError {
  override readonly name = "ConfigError";
  /** The key of the JSON object that is wrong or missing; `undefined` if it is not known. */
  readonly key: string | undefined;

  constructor(
    message: string,
    { key, ...options }: ErrorOptions & { readonly key?: string } = {},
  ) {
    super(message, options);
    this.key = key;
  }
}
