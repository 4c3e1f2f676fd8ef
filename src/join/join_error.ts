import { OperatorError } from "../base/operator_error.ts";

/** The node cannot join the datastore. The message says why, and what to do; it has no secret. */
export class JoinError extends OperatorError {
  override readonly name = "JoinError";
  /** The same attempt may succeed later. */
  readonly mayPass: boolean;

  constructor(
    message: string,
    { mayPass, cause }: { readonly mayPass: boolean; readonly cause?: unknown },
  ) {
    super(message, { cause });
    this.mayPass = mayPass;
  }
}
