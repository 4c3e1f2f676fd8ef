/**
 * The calls of etcd's v3 API that the client makes, with the fields that it uses (../api/rpc.proto
 * and kv.proto, etcd's published names and numbers). A test compares them with the generated
 * messages.
 */

import {
  bool,
  bytes,
  type Decoded,
  type Encodable,
  enumeration,
  int64,
  listOf,
  type MessageType,
  messageType,
  nested,
  oneof,
  string,
  uint64,
} from "./protobuf_message.ts";

/** A method with one request message; it may respond with several. */
export interface RpcMethod<Request, Response> {
  /** As gRPC names it, such as `etcdserverpb.KV/Range`. */
  readonly name: string;
  encode(request: Request): Uint8Array;
  /** Throws if the bytes are not a message of this type. */
  decode(bytes: Uint8Array): Response;
}

/** `mvccpb.Event.EventType`. */
export const PUT_EVENT = 0;

/** `etcdserverpb.Compare.CompareTarget`. */
export const COMPARE_CREATE = 1;
export const COMPARE_MOD = 2;

const responseHeader = messageType({
  clusterId: uint64(1),
  memberId: uint64(2),
  revision: int64(3),
  raftTerm: uint64(4),
});
const header = nested(1, responseHeader);
const headerOnly = messageType({ header });
const leaseId = messageType({ ID: int64(1) });

const storedKeyValue = messageType({
  key: bytes(1),
  createRevision: int64(2),
  modRevision: int64(3),
  version: int64(4),
  value: bytes(5),
  lease: int64(6),
});

const rangeRequest = messageType({ key: bytes(1), rangeEnd: bytes(2), keysOnly: bool(8) });
const rangeResponse = messageType({
  header,
  kvs: listOf(2, storedKeyValue),
  more: bool(3),
  count: int64(4),
});

const requestOperation = messageType({
  request: oneof({
    requestRange: nested(1, rangeRequest),
    requestPut: nested(2, messageType({ key: bytes(1), value: bytes(2), lease: int64(3) })),
    requestDeleteRange: nested(3, messageType({ key: bytes(1) })),
  }),
});
const comparison = messageType({
  target: enumeration(2),
  key: bytes(3),
  targetUnion: oneof({ createRevision: int64(5), modRevision: int64(6) }),
});
const transactionRequest = messageType({
  compare: listOf(1, comparison),
  success: listOf(2, requestOperation),
  failure: listOf(3, requestOperation),
});
const responseOperation = messageType({
  response: oneof({
    responseRange: nested(1, rangeResponse),
    responsePut: nested(2, headerOnly),
    responseDeleteRange: nested(3, headerOnly),
    responseTxn: nested(4, headerOnly),
  }),
});
const transactionResponse = messageType({
  header,
  succeeded: bool(2),
  responses: listOf(3, responseOperation),
});

const watchRequest = messageType({
  requestUnion: oneof({
    createRequest: nested(
      1,
      messageType({
        key: bytes(1),
        rangeEnd: bytes(2),
        startRevision: int64(3),
        progressNotify: bool(4),
      }),
    ),
  }),
});
const watchEvent = messageType({ type: enumeration(1), kv: nested(2, storedKeyValue) });
const watchResponse = messageType({
  header,
  created: bool(3),
  canceled: bool(4),
  compactRevision: int64(5),
  cancelReason: string(6),
  events: listOf(11, watchEvent),
});

const grantRequest = messageType({ TTL: int64(1), ID: int64(2) });
const grantResponse = messageType({ header, ID: int64(2), TTL: int64(3), error: string(4) });
const keepAliveResponse = messageType({ header, ID: int64(2), TTL: int64(3) });
const timeToLiveResponse = messageType({
  header,
  ID: int64(2),
  TTL: int64(3),
  grantedTTL: int64(4),
});

const user = messageType({ name: string(1), password: string(2) });
const authenticateResponse = messageType({ header, token: string(2) });

export type EtcdResponseHeader = Decoded<typeof responseHeader>;
export type StoredKeyValue = Decoded<typeof storedKeyValue>;
export type RangeMessage = Encodable<typeof rangeRequest>;
export type RangeReply = Decoded<typeof rangeResponse>;
export type ComparisonMessage = Encodable<typeof comparison>;
export type OperationMessage = Encodable<typeof requestOperation>;
export type TransactionMessage = Encodable<typeof transactionRequest>;
export type TransactionReply = Decoded<typeof transactionResponse>;
export type WatchMessage = Encodable<typeof watchRequest>;
export type KeyEvent = Decoded<typeof watchEvent>;
export type WatchReply = Decoded<typeof watchResponse>;
export type GrantReply = Decoded<typeof grantResponse>;
export type TimeToLiveReply = Decoded<typeof timeToLiveResponse>;

export const etcdMethods = {
  range: method("KV/Range", rangeRequest, rangeResponse),
  transaction: method("KV/Txn", transactionRequest, transactionResponse),
  watch: method("Watch/Watch", watchRequest, watchResponse),
  leaseGrant: method("Lease/LeaseGrant", grantRequest, grantResponse),
  leaseRevoke: method("Lease/LeaseRevoke", leaseId, headerOnly),
  leaseKeepAlive: method("Lease/LeaseKeepAlive", leaseId, keepAliveResponse),
  leaseTimeToLive: method("Lease/LeaseTimeToLive", leaseId, timeToLiveResponse),
  authenticate: method("Auth/Authenticate", user, authenticateResponse),
  userAdd: method("Auth/UserAdd", user, headerOnly),
} as const;

function method<Request, Response>(
  name: string,
  // deno-lint-ignore no-explicit-any -- what a request decodes to is not used
  request: MessageType<any, Request>,
  // deno-lint-ignore no-explicit-any -- nor what a response is encoded from
  response: MessageType<Response, any>,
): RpcMethod<Request, Response> {
  return { name: `etcdserverpb.${name}`, encode: request.encode, decode: response.decode };
}
