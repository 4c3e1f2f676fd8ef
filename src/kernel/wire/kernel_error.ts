/** Errors of the kernel: what was tried, and how it was refused. */

import { errnoName, errnoNumber } from "../../../ffi/errno.ts";
import { OperatorError } from "../../base/operator_error.ts";

export interface KernelErrorOptions {
  /** What was tried, as it follows "cannot": `delete route 10.5.2.0/24`. */
  readonly operation: string;
  /** As errno(3) spells it, such as `EEXIST`, or its number. */
  readonly errno: string | number;
  /**
   * The reason in words: the kernel's own (NLMSGERR_ATTR_MSG), or a hint at the cause and the cure.
   */
  readonly extack?: string | undefined;
  readonly cause?: unknown;
}

/** The kernel refused an operation. */
export class KernelError extends OperatorError {
  override readonly name: string = "KernelError";
  readonly operation: string;
  /** As errno(3) spells it, such as `EEXIST`. */
  readonly errno: string;
  /** `undefined` if the name is not one of this platform. */
  readonly errnoNumber: number | undefined;
  readonly extack: string | undefined;

  constructor({ operation, errno, extack, cause }: KernelErrorOptions) {
    const name = typeof errno === "number" ? errnoName(errno) : errno;
    super(
      `cannot ${operation}: ${reasonText(name, extack)}`,
      cause === undefined ? undefined : { cause },
    );
    this.operation = operation;
    this.errno = name;
    this.errnoNumber = typeof errno === "number" ? errno : errnoNumber(errno);
    this.extack = extack;
  }

  /** The message without the operation. */
  get reason(): string {
    return reasonText(this.errno, this.extack);
  }
}

/** The table changed during every attempt to read it. */
export class DumpInterruptedError extends KernelError {
  override readonly name = "DumpInterruptedError";

  constructor(table: string, attempts: number) {
    super({
      operation: `read the ${table} table`,
      errno: "EINTR",
      extack: `it changed during each of ${attempts} attempts`,
    });
  }
}

function reasonText(errno: string, extack: string | undefined): string {
  return extack ? `${errno} (${extack})` : errno;
}
