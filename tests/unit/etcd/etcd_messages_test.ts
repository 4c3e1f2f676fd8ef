/** The client's messages against the generated ones, in both directions, and against garbage. */

import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  COMPARE_CREATE,
  COMPARE_MOD,
  etcdMethods,
  PUT_EVENT,
} from "../../../src/etcd/client/etcd_messages.ts";
import { Event_EventType as EventType } from "../../../src/etcd/api/kv_pb.ts";
import {
  Auth,
  Compare_CompareTarget as CompareTarget,
  KV,
  Lease,
  Watch,
} from "../../../src/etcd/api/rpc_pb.ts";

const GENERATED: Readonly<Record<keyof typeof etcdMethods, DescMethod>> = {
  range: KV.method.range,
  transaction: KV.method.txn,
  watch: Watch.method.watch,
  leaseGrant: Lease.method.leaseGrant,
  leaseRevoke: Lease.method.leaseRevoke,
  leaseKeepAlive: Lease.method.leaseKeepAlive,
  leaseTimeToLive: Lease.method.leaseTimeToLive,
  authenticate: Auth.method.authenticate,
  userAdd: Auth.method.userAdd,
};
const names = Object.keys(GENERATED) as (keyof typeof GENERATED)[];

const int64 = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n });
const uint64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const bytes = fc.uint8Array({ maxLength: 300 });
const header = fc.record({
  clusterId: uint64,
  memberId: uint64,
  revision: int64,
  raftTerm: uint64,
});
const keyValue = fc.record({
  key: bytes,
  value: bytes,
  createRevision: int64,
  modRevision: int64,
  version: int64,
  lease: int64,
});
const text = fc.string({ unit: "grapheme" });
const range = fc.record({
  header,
  kvs: fc.array(keyValue, { maxLength: 5 }),
  more: fc.boolean(),
  count: int64,
});
const headerOnly = fc.record({ header });

function oneOf(cases: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<unknown> {
  return fc.oneof(
    ...Object.entries(cases).map(([name, value]) => fc.record({ case: fc.constant(name), value })),
  );
}

const RESPONSES: Readonly<Record<keyof typeof etcdMethods, fc.Arbitrary<object>>> = {
  range,
  transaction: fc.record({
    header,
    succeeded: fc.boolean(),
    responses: fc.array(
      fc.record({
        response: oneOf({
          responseRange: range,
          responsePut: headerOnly,
          responseDeleteRange: headerOnly,
          responseTxn: headerOnly,
        }),
      }),
      { maxLength: 4 },
    ),
  }),
  watch: fc.record({
    header,
    created: fc.boolean(),
    canceled: fc.boolean(),
    compactRevision: int64,
    cancelReason: text,
    events: fc.array(fc.record({ type: fc.constantFrom(0, 1), kv: keyValue }), { maxLength: 5 }),
  }),
  leaseGrant: fc.record({ header, ID: int64, TTL: int64, error: text }),
  leaseRevoke: headerOnly,
  leaseKeepAlive: fc.record({ header, ID: int64, TTL: int64 }),
  leaseTimeToLive: fc.record({ header, ID: int64, TTL: int64, grantedTTL: int64 }),
  authenticate: fc.record({ header, token: text }),
  userAdd: headerOnly,
};

const operation = fc.record({
  request: oneOf({
    requestRange: fc.record({ key: bytes, rangeEnd: bytes, keysOnly: fc.boolean() }),
    requestPut: fc.record({ key: bytes, value: bytes, lease: int64 }),
    requestDeleteRange: fc.record({ key: bytes }),
  }),
});
const user = fc.record({ name: text, password: text });
const leaseId = fc.record({ ID: int64 });
const REQUESTS: Readonly<Record<keyof typeof etcdMethods, fc.Arbitrary<object>>> = {
  range: fc.record({ key: bytes, rangeEnd: bytes, keysOnly: fc.boolean() }),
  transaction: fc.record({
    compare: fc.array(
      fc.record({
        target: fc.constantFrom(COMPARE_CREATE, COMPARE_MOD),
        key: bytes,
        targetUnion: oneOf({ createRevision: int64, modRevision: int64 }),
      }),
      { maxLength: 3 },
    ),
    success: fc.array(operation, { maxLength: 3 }),
    failure: fc.array(operation, { maxLength: 3 }),
  }),
  watch: fc.record({
    requestUnion: oneOf({
      createRequest: fc.record({
        key: bytes,
        rangeEnd: bytes,
        startRevision: int64,
        progressNotify: fc.boolean(),
      }),
    }),
  }),
  leaseGrant: fc.record({ TTL: int64, ID: int64 }),
  leaseRevoke: leaseId,
  leaseKeepAlive: leaseId,
  leaseTimeToLive: leaseId,
  authenticate: user,
  userAdd: user,
};

function generated(schema: DescMessage, value: object): Uint8Array {
  return toBinary(schema, create(schema, value as MessageInitShape<DescMessage>));
}

describe.each(names)("%s", (name) => {
  const method = etcdMethods[name] as {
    readonly name: string;
    encode(message: object): Uint8Array;
    decode(bytes: Uint8Array): object;
  };
  const { input, output, parent, name: called } = GENERATED[name];

  test("has etcd's name", () => {
    expect(method.name).toBe(`${parent.typeName}/${called}`);
  });

  test("is requested in the generated messages' bytes", () => {
    fc.assert(fc.property(REQUESTS[name], (request) => {
      const read = fromBinary(input, method.encode(request));
      expect(read).toEqual(fromBinary(input, generated(input, request)));
    }));
  });

  test("has its responses read as the generated messages have", () => {
    fc.assert(fc.property(RESPONSES[name], (response) => {
      expect(method.decode(generated(output, response))).toEqual(response);
    }));
  });

  test("has defaults for what was not sent", () => {
    expect(method.decode(new Uint8Array())).toMatchObject(
      Object.fromEntries(
        Object.entries(create(output)).filter(([key]) => key in method.decode(new Uint8Array())),
      ),
    );
  });

  test("is decoded from other bytes, or throws an Error", () => {
    fc.assert(fc.property(RESPONSES[name], fc.nat(), fc.nat(255), (response, at, value) => {
      const changed = generated(output, response);
      if (changed.length > 0) changed[at % changed.length] = value;
      for (const input of [changed, changed.subarray(0, at % (changed.length + 1))]) {
        try {
          method.decode(input);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }
    }));
  });
});

test("enums have etcd's numbers", () => {
  expect([PUT_EVENT, COMPARE_CREATE, COMPARE_MOD]).toEqual([
    EventType.PUT,
    CompareTarget.CREATE,
    CompareTarget.MOD,
  ]);
});

describe("a message is refused", () => {
  const decode = (...bytes: number[]) => () => etcdMethods.watch.decode(Uint8Array.from(bytes));

  test.each([
    ["where a field ends in the middle", [10, 5, 8, 1]],
    ["where a nested message ends in the middle of a field", [10, 1, 8, 1]],
    ["where a number does not end", [24, 0x80]],
    ["where a text is not UTF-8", [50, 1, 0xff]],
    ["with an invalid field number", [0, 0]],
  ])("%s", (_what, bytes) => {
    expect(decode(...bytes)).toThrow();
  });

  test("but unknown fields, and known ones of another type, are skipped", () => {
    // Field 3 as bytes, field 99 as a number, and field 4 as it should be.
    const message = decode(26, 2, 1, 1, 0x98, 6, 7, 32, 1)();
    expect(message).toMatchObject({ created: false, canceled: true });
  });
});
