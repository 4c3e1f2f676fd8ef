/** The base class of errors that an operator can act on, and the message of anything thrown. */

/**
 * The message is one line: what failed, the value, and what to do. If it ends the program, the
 * program prints that line only. Any other error that ends the program is a bug and is printed with
 * its stack.
 */
export abstract class OperatorError extends Error {
  abstract override readonly name: string;
}

/** The message of an error, or anything else that was thrown as text. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
