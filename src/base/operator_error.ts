/** The one base of errors that an operator can act on, and the text of whatever was thrown. */

/**
 * Its message is one line: what failed, the value, and what to do about it. The program prints the line
 * and nothing else. Any other error that ends the program is a bug, and is printed with its stack.
 */
export abstract class OperatorError extends Error {
  abstract override readonly name: string;
}

/** The message of an error; anything else that was thrown, as text. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
