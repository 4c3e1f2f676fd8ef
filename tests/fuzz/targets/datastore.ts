/** Requests of clients to the datastore, and imports into it. */

import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { MemoryPool } from "../../../src/datastore/mvcc/memory_pool.ts";
import { CommitQueue } from "../../../src/datastore/mvcc/commit_queue.ts";
import { DatastoreError } from "../../../src/datastore/mvcc/datastore_error.ts";
import {
  checkDelete,
  checkPut,
  deleteKeys,
  putKey,
} from "../../../src/datastore/mvcc/key_writes.ts";
import { queryRange, validateRange } from "../../../src/datastore/mvcc/range_query.ts";
import { RequestError } from "../../../src/datastore/mvcc/request_error.ts";
import { type MessageWriter, readMessages } from "../../../src/datastore/rpc/message_stream.ts";
import { frame } from "../../../src/etcd/api/message_frames.ts";
import { keyCalls } from "../../../src/datastore/rpc/key_calls.ts";
import { serveWatches } from "../../../src/datastore/rpc/watch_service.ts";
import { performTransaction } from "../../../src/datastore/mvcc/transaction.ts";
import { validateTransaction } from "../../../src/datastore/mvcc/transaction_check.ts";
import { dumpText, parseDump } from "../../../src/datastore/transfer/dump_text.ts";
import {
  DeleteRangeRequestSchema,
  LeaseGrantRequestSchema,
  PutRequestSchema,
  RangeRequestSchema,
  TxnRequestSchema,
  WatchRequestSchema,
} from "../../../src/etcd/api/rpc_pb.ts";
import { bytes, TestStore } from "../../unit/datastore/fixture.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

/** Bytes that are not a message of the type, which Connect rejects itself. */
class NoMessage extends Error {}

function read<T extends DescMessage>(schema: T, input: Uint8Array): MessageShape<T> {
  try {
    return fromBinary(schema, input);
  } catch (cause) {
    throw new NoMessage((cause as Error).message, { cause });
  }
}

function message<T extends DescMessage>(schema: T, init: MessageInitShape<T>): Uint8Array {
  return toBinary(schema, create(schema, init));
}

/** Each store serves this many inputs, so that its contents stay small. */
const INPUTS_PER_STORE = 500;
let current: { readonly store: TestStore; inputs: number } | undefined;

function testStore(): TestStore {
  if (current === undefined || current.inputs >= INPUTS_PER_STORE) {
    current?.store[Symbol.dispose]();
    const store = new TestStore();
    for (const key of ["/coreos.com/network/config", "a", "b", "c/1", "c/2"]) {
      store.put(key, "value");
    }
    store.delete("b");
    current = { store, inputs: 0 };
  }
  current.inputs++;
  return current.store;
}
process.on("exit", () => current?.store[Symbol.dispose]());

const REFUSALS = [NoMessage, RequestError, ConnectError];
const WORDS = [
  "\n\u0001a",
  "\u0012\u0001\0",
  "\u0018\u0001",
  "\u0080\u0080\u0080\u0080\u0080\u0080\u0080\u0080\u0080\u0001",
  "\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u007f",
];

const range: FuzzTarget = {
  name: "datastore-range",
  seeds: [
    message(RangeRequestSchema, {
      key: bytes("a"),
      rangeEnd: bytes("d"),
      limit: 2n,
      sortOrder: 1,
      sortTarget: 3,
    }),
    message(RangeRequestSchema, {
      key: bytes("\0"),
      rangeEnd: bytes("\0"),
      countOnly: true,
      revision: 3n,
    }),
    message(RangeRequestSchema, {
      key: bytes("a"),
      keysOnly: true,
      minModRevision: 1n,
      maxCreateRevision: 9n,
    }),
  ],
  dictionary: WORDS,
  refusals: REFUSALS,
  run(input) {
    const request = read(RangeRequestSchema, input);
    validateRange(request);
    const { kvs, count, more } = queryRange(testStore().store, request);
    equal(BigInt(kvs.length) <= count, true);
    if (request.limit > 0n) equal(BigInt(kvs.length) <= request.limit, true);
    equal(typeof more, "boolean");
  },
};

const put = { case: "requestPut", value: { key: bytes("a"), value: bytes("x") } } as const;
const get = { case: "requestRange", value: { key: bytes("a") } } as const;
const remove = {
  case: "requestDeleteRange",
  value: { key: bytes("c"), rangeEnd: bytes("d"), prevKv: true },
} as const;

const transaction: FuzzTarget = {
  name: "datastore-txn",
  seeds: [
    message(TxnRequestSchema, {
      compare: [
        { result: 0, target: 0, key: bytes("a"), targetUnion: { case: "version", value: 1n } },
        {
          result: 1,
          target: 3,
          key: bytes("a"),
          rangeEnd: bytes("b"),
          targetUnion: { case: "value", value: bytes("v") },
        },
      ],
      success: [{ request: put }, { request: get }, { request: remove }],
      failure: [{
        request: {
          case: "requestTxn",
          value: { success: [{ request: put }], failure: [{ request: get }] },
        },
      }],
    }),
  ],
  dictionary: WORDS,
  refusals: REFUSALS,
  run(input) {
    const request = read(TxnRequestSchema, input);
    validateTransaction(request);
    const { store, leases } = testStore();
    store.write((transaction) => performTransaction(transaction, request, (id) => leases.has(id)));
  },
};

const writes: FuzzTarget = {
  name: "datastore-write",
  seeds: [
    message(PutRequestSchema, { key: bytes("a"), value: bytes("x"), lease: 0n, prevKv: true }),
    message(PutRequestSchema, { key: bytes("zz"), ignoreValue: true, lease: 5n }),
    message(DeleteRangeRequestSchema, { key: bytes("a"), rangeEnd: bytes("b"), prevKv: true }),
    message(LeaseGrantRequestSchema, { TTL: 60n, ID: 7n }),
  ],
  dictionary: WORDS,
  refusals: REFUSALS,
  run(input) {
    const { store, leases } = testStore();
    const hasLease = (id: bigint) => leases.has(id);
    const asks = [
      () => {
        const request = read(PutRequestSchema, input);
        checkPut(request);
        store.write((transaction) => putKey(transaction, request, hasLease));
      },
      () => {
        const request = read(DeleteRangeRequestSchema, input);
        checkDelete(request);
        store.write((transaction) => deleteKeys(transaction, request));
      },
      () => {
        const { ID, TTL } = read(LeaseGrantRequestSchema, input);
        const { id } = leases.grant({ id: ID, ttlSeconds: TTL });
        equal(leases.has(id), true);
        leases.revoke(id);
      },
    ];
    for (const ask of asks) {
      try {
        ask();
      } catch (error) {
        if (!REFUSALS.some((type) => error instanceof type)) throw error;
      }
    }
  },
};

/** Counts the messages sent. */
function silentWriter(): MessageWriter & { frames: number } {
  const writer = {
    frames: 0,
    send: () => void writer.frames++,
    sendAll: () => (writer.frames++, Promise.resolve()),
    onClose: () => {},
    end: () => {},
  };
  return writer as unknown as MessageWriter & { frames: number };
}

/** The body as it comes: in parts whose size the first byte decides. */
async function* parts(input: Uint8Array): AsyncGenerator<Uint8Array> {
  const size = 1 + (input[0] ?? 0) % 32 * 8;
  for (let at = 1; at < input.length; at += size) {
    yield await Promise.resolve(input.subarray(at, at + size));
  }
}

const watchFrames: readonly MessageInitShape<typeof WatchRequestSchema>[] = [
  {
    requestUnion: {
      case: "createRequest",
      value: {
        key: bytes("a"),
        rangeEnd: bytes("z"),
        startRevision: 1n,
        prevKv: true,
        watchId: 3n,
        progressNotify: true,
        filters: [0],
      },
    },
  },
  { requestUnion: { case: "cancelRequest", value: { watchId: 3n } } },
  { requestUnion: { case: "progressRequest", value: {} } },
];
const watchBody = watchFrames.map((init) => frame(message(WatchRequestSchema, init)));

const watch: FuzzTarget = {
  name: "datastore-watch",
  seeds: [
    Buffer.concat([Uint8Array.of(40), ...watchBody]),
    Buffer.concat([Uint8Array.of(0), watchBody[0] as Uint8Array]),
  ],
  dictionary: WORDS,
  refusals: REFUSALS,
  async run(input) {
    const { hub, storage } = testStore();
    await serveWatches(
      { hub, storage, pool: new MemoryPool() },
      readMessages(parts(input)),
      silentWriter(),
    );
  },
};

/** As they come on the wire; the second byte of the input decides which call it is. */
const call: FuzzTarget = {
  name: "datastore-call",
  seeds: [
    message(RangeRequestSchema, { key: bytes("a"), rangeEnd: bytes("d"), limit: 2n, sortOrder: 2 }),
    message(PutRequestSchema, { key: bytes("a"), value: bytes("x"), prevKv: true }),
    message(DeleteRangeRequestSchema, { key: bytes("a"), rangeEnd: bytes("b"), prevKv: true }),
    message(TxnRequestSchema, {
      success: [{ request: put }, { request: get }, { request: remove }],
    }),
  ].map((request, index) => Buffer.concat([Uint8Array.of(40, index), frame(request)])),
  dictionary: WORDS,
  refusals: REFUSALS,
  async run(input) {
    const { store, storage, leases } = testStore();
    using commits = new CommitQueue(store);
    const calls = keyCalls({ store, storage, commits, lessor: leases, pool: new MemoryPool() });
    const [, handler] = calls[(input[1] ?? 0) % calls.length] as (typeof calls)[number];
    const writer = silentWriter();
    const body = Buffer.concat([input.subarray(0, 1), input.subarray(2)]);
    await handler(readMessages(parts(body)), writer);
    equal(writer.frames, 1);
  },
};

const stream: FuzzTarget = {
  name: "datastore-stream",
  seeds: [
    Buffer.concat([Uint8Array.of(1), frame(bytes("one")), frame(bytes("")), frame(bytes("three"))]),
  ],
  refusals: [ConnectError],
  async run(input) {
    const again: Uint8Array[] = [];
    for await (const each of readMessages(parts(input))) again.push(frame(each));
    equal(Buffer.concat(again), Buffer.from(input.subarray(1)));
  },
};

const dump: FuzzTarget = {
  name: "datastore-dump",
  isJson: false,
  seeds: [
    '{"flanneldDatastore":1,"revision":"52"}\n{"lease":"694d77aa9e38260f",' +
    '"remainingSeconds":"86012"}\n' +
    '{"key":"/coreos.com/network/config","value":"{}"}\n{"keyBase64":"/w==","value":"v",' +
    '"lease":"694d77aa9e38260f"}\n' +
    '{"end":true,"leases":1,"keys":2}\n',
    '{"flanneldDatastore":1,"revision":"1"}\n{"end":true,"leases":0,"keys":0}\n',
  ],
  dictionary: [
    '"keyBase64"',
    '"valueBase64":"',
    '"lease":"',
    "{}",
    "[]",
    "null",
    "\n",
    '"revision":',
    '"end":true',
  ],
  refusals: [DatastoreError],
  run(input) {
    const text = new TextDecoder().decode(input);
    const parsed = parseDump(text);
    equal(parseDump(dumpText(parsed)), parsed);
  },
};

export const DATASTORE_TARGETS: readonly FuzzTarget[] = [
  range,
  transaction,
  writes,
  watch,
  call,
  stream,
  dump,
];
