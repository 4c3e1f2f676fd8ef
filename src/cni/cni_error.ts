/** Errors of the CNI plugin, and their JSON on standard output (CNI specification, section 5). */

import { OperatorError } from "../base/operator_error.ts";

/** The codes of the specification, and that of its library for everything else. */
export const CNI_CODES = {
  incompatibleVersion: 1,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  /** Of STATUS: it cannot serve ADD. */
  notAvailable: 50,
  internal: 999,
} as const;

export type CniCode = typeof CNI_CODES[keyof typeof CNI_CODES];

/** Why a command of a container runtime failed. */
export class CniError extends OperatorError {
  override readonly name = "CniError";
  readonly code: CniCode;
  readonly details: string | undefined;

  constructor(
    code: CniCode,
    message: string,
    { details, ...options }: ErrorOptions & { readonly details?: string } = {},
  ) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** The delegate failed, and its standard output is the JSON of its error. */
export class DelegateError extends OperatorError {
  override readonly name = "DelegateError";
  /** As printed. */
  readonly result: string;

  constructor(message: string, result: string) {
    super(message);
    this.result = result;
  }
}

/** What a container runtime reads after a failure; `cniVersion` is that of its configuration. */
export function errorResult(error: unknown, cniVersion: string | undefined): string {
  if (error instanceof DelegateError) return error.result;
  const { code, message, details } = error instanceof CniError
    ? error
    : { code: CNI_CODES.internal, message: String((error as Error).message), details: undefined };
  return JSON.stringify({ cniVersion, code, msg: message, details }, undefined, 4);
}
