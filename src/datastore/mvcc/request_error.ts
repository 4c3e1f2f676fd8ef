/** Errors that etcd returns for a request: for each reason its gRPC code and its exact text. */

/** Codes as gRPC numbers them (google.golang.org/grpc/codes). */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const OUT_OF_RANGE = 11;
const DATA_LOSS = 15;
const UNAUTHENTICATED = 16;

/** From etcd's api/v3rpc/rpctypes/error.go and gRPC's own server; clients compare these texts. */
const REASONS = {
  emptyKey: [INVALID_ARGUMENT, "etcdserver: key is not provided"],
  keyNotFound: [INVALID_ARGUMENT, "etcdserver: key not found"],
  valueProvided: [INVALID_ARGUMENT, "etcdserver: value is provided"],
  leaseProvided: [INVALID_ARGUMENT, "etcdserver: lease is provided"],
  tooManyOperations: [INVALID_ARGUMENT, "etcdserver: too many operations in txn request"],
  duplicateKey: [INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request"],
  invalidSortOption: [INVALID_ARGUMENT, "etcdserver: invalid sort option"],
  requestTooLarge: [INVALID_ARGUMENT, "etcdserver: request is too large"],
  compacted: [OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"],
  futureRevision: [OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"],
  responseTooLarge: [RESOURCE_EXHAUSTED, "grpc: trying to send message larger than max"],
  tooManyRequests: [RESOURCE_EXHAUSTED, "etcdserver: too many requests"],
  dataLoss: [DATA_LOSS, "flanneld datastore: the checksum does not match"],
  noSpace: [RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"],
  leaseNotFound: [NOT_FOUND, "etcdserver: requested lease not found"],
  leaseExists: [FAILED_PRECONDITION, "etcdserver: lease already exists"],
  leaseTtlTooLarge: [OUT_OF_RANGE, "etcdserver: too large lease TTL"],
  authNotEnabled: [FAILED_PRECONDITION, "etcdserver: authentication is not enabled"],
  authFailed: [
    INVALID_ARGUMENT,
    "etcdserver: authentication failed, invalid user ID or password",
  ],
  userNameEmpty: [INVALID_ARGUMENT, "etcdserver: user name is empty"],
  invalidAuthToken: [UNAUTHENTICATED, "etcdserver: invalid auth token"],
  permissionDenied: [PERMISSION_DENIED, "etcdserver: permission denied"],
  userExists: [FAILED_PRECONDITION, "etcdserver: user name already exists"],
} as const;

export type RequestErrorReason = keyof typeof REASONS;

/** An invalid or impossible request; it has changed nothing. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly reason: RequestErrorReason;
  /** gRPC status code. */
  readonly code: number;

  /** `detail` is appended to etcd's text. */
  constructor(
    reason: RequestErrorReason,
    { detail = "", ...options }: { readonly detail?: string; readonly cause?: unknown } = {},
  ) {
    const [code, text] = REASONS[reason];
    super(text + detail, options);
    this.reason = reason;
    this.code = code;
  }
}
