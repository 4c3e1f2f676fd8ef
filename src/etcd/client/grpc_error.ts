/** The status with which a gRPC call ends (google.golang.org/grpc/codes). */

export enum Code {
  Canceled = 1,
  Unknown = 2,
  InvalidArgument = 3,
  DeadlineExceeded = 4,
  NotFound = 5,
  AlreadyExists = 6,
  PermissionDenied = 7,
  ResourceExhausted = 8,
  FailedPrecondition = 9,
  Aborted = 10,
  OutOfRange = 11,
  Unimplemented = 12,
  Internal = 13,
  Unavailable = 14,
  DataLoss = 15,
  Unauthenticated = 16,
}

/** A call that failed, by the server's status or because its response is not valid gRPC. */
export class GrpcError extends Error {
  override readonly name = "GrpcError";
  readonly code: Code;

  /** `text` is the server's, unchanged. */
  constructor(text: string, code: Code, options?: ErrorOptions) {
    super(text, options);
    this.code = code;
  }
}

/** The code for a number that a server sent; `undefined` if gRPC has none with this number. */
export function codeOfNumber(value: number): Code | undefined {
  return Code[value] === undefined ? undefined : value;
}
