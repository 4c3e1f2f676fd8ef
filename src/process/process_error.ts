/** A program that could not be started, or did not exit by itself. */

import { OperatorError } from "../base/operator_error.ts";

export type ProcessFault = "not found" | "cannot start" | "timeout" | "killed" | "output too large";

export class ProcessError extends OperatorError {
  override readonly name = "ProcessError";
  readonly program: string;
  readonly fault: ProcessFault;

  constructor(program: string, fault: ProcessFault, detail: string, options?: ErrorOptions) {
    super(`cannot run ${program}: ${detail}`, options);
    this.program = program;
    this.fault = fault;
  }
}
