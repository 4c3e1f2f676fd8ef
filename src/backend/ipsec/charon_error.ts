/** Failures of charon, and of the connection to it. */

import { OperatorError } from "../../base/operator_error.ts";

export type CharonFault =
  /** There is no connection: nothing listens, or this user has no permission. */
  | "unreachable"
  /** The connection has ended. */
  | "closed"
  | "timeout"
  /** It sends what VICI does not allow. */
  | "protocol"
  /** It refuses a command, or does not have it. The connection stays open. */
  | "refused"
  /** It cannot be started, or has ended at once. */
  | "not started";

export interface CharonErrorOptions extends ErrorOptions {
  /** The VICI command or event, such as `load-conn`. */
  readonly command?: string;
}

export class CharonError extends OperatorError {
  override readonly name: string = "CharonError";
  readonly fault: CharonFault;
  readonly command: string | undefined;

  constructor(fault: CharonFault, message: string, options: CharonErrorOptions = {}) {
    super(message, options);
    this.fault = fault;
    this.command = options.command;
  }
}

/** Whether charon has refused a command: the connection is still usable. */
export function isRefusal(error: unknown): error is CharonError {
  return error instanceof CharonError && error.fault === "refused";
}
