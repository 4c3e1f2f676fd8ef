/** Input from the network: workloads' packets, and responses of an etcd or an impostor. */

import { create, toBinary } from "@bufbuild/protobuf";
import {
  checksum,
  decrementTtl,
  destinationOf,
  forwardingVerdict,
  icmpError,
  sourceOf,
  TIME_EXCEEDED,
} from "../../../src/backend/udp/ip_packet.ts";
import {
  checkEvent,
  checkGrant,
  checkRange,
  checkTimes,
  checkTransaction,
  InvalidResponseError,
} from "../../../src/etcd/client/response_checks.ts";
import type { Transaction } from "../../../src/etcd/client/etcd.ts";
import { etcdMethods, type RpcMethod } from "../../../src/etcd/client/etcd_messages.ts";
import {
  LeaseGrantResponseSchema,
  LeaseTimeToLiveResponseSchema,
  RangeResponseSchema,
  TxnResponseSchema,
  WatchResponseSchema,
} from "../../../src/etcd/api/rpc_pb.ts";
import { bytes } from "../../unit/datastore/fixture.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

/** A header of five words, with a valid checksum, before twenty bytes. */
function packet(protocol: number, first: number): Uint8Array {
  const whole = new Uint8Array(40);
  whole.set([0x45, 0, 0, 40, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 5, 1, 2, 10, 5, 2, 2, first]);
  const sum = checksum(whole.subarray(0, 20));
  whole.set([sum >> 8, sum & 0xff], 10);
  return whole;
}

const udpPacket: FuzzTarget = {
  name: "udp-packet",
  seeds: [packet(17, 0), packet(1, 8), packet(1, 3)],
  maxBytes: 1500,
  run(input) {
    const copy = input.slice();
    const view = new DataView(copy.buffer);
    if (forwardingVerdict(view, 0, copy.length) === "drop") return;
    equal(sourceOf(view, 0) >= 0 && destinationOf(view, 0) >= 0, true);
    const error = icmpError({ view, at: 0 }, { ...TIME_EXCEEDED, source: 0x0a050101 });
    if (error !== undefined) {
      equal([checksum(error.subarray(0, 20)), checksum(error.subarray(20))], [0, 0]);
      equal(error.length <= 576, true);
    }
    decrementTtl(view, 0);
  },
};

const kv = {
  key: bytes("/p/a"),
  value: bytes("v"),
  created: 2n,
  changed: 3n,
  version: 1n,
};
const header = { revision: 5n };
const TRANSACTION: Transaction = {
  compare: [],
  success: [{ range: { key: "/p/a" } }, { put: { key: "/p/a", value: "v" } }],
  failure: [{ range: { key: "/p/", prefix: true } }],
} as unknown as Transaction;

/** Bytes that are not a message of the type. */
class NoMessage extends Error {}

function read<Response>(
  { decode }: RpcMethod<never, Response>,
  input: Uint8Array,
): Response {
  try {
    return decode(input);
  } catch (cause) {
    throw new NoMessage((cause as Error).message, { cause });
  }
}

/** Each kind of response, whatever the bytes are. */
const CHECKS: readonly ((input: Uint8Array) => void)[] = [
  (input) => checkRange(read(etcdMethods.range, input), { key: "/p/", prefix: true }),
  (input) => checkRange(read(etcdMethods.range, input), { key: "/p/a" }),
  (input) => checkTransaction(read(etcdMethods.transaction, input), TRANSACTION),
  (input) => checkGrant(read(etcdMethods.leaseGrant, input), 0n),
  (input) => checkTimes(read(etcdMethods.leaseTimeToLive, input)),
  (input) => {
    for (const event of read(etcdMethods.watch, input).events) {
      checkEvent(event, { prefix: bytes("/p/"), next: 3n, revision: 5n });
    }
  },
];

const etcdAnswer: FuzzTarget = {
  name: "etcd-answer",
  seeds: [
    toBinary(RangeResponseSchema, create(RangeResponseSchema, { header, kvs: [kv], count: 1n })),
    toBinary(
      TxnResponseSchema,
      create(TxnResponseSchema, {
        header,
        succeeded: true,
        responses: [
          { response: { case: "responseRange", value: { kvs: [kv], count: 1n } } },
          { response: { case: "responsePut", value: {} } },
        ],
      }),
    ),
    toBinary(LeaseGrantResponseSchema, create(LeaseGrantResponseSchema, { ID: 7n, TTL: 60n })),
    toBinary(
      LeaseTimeToLiveResponseSchema,
      create(LeaseTimeToLiveResponseSchema, { ID: 7n, TTL: 60n, grantedTTL: 90n }),
    ),
    toBinary(
      WatchResponseSchema,
      create(WatchResponseSchema, { header, watchId: 1n, events: [{ type: 0, kv }] }),
    ),
  ],
  run(input) {
    for (const check of CHECKS) {
      try {
        check(input);
      } catch (error) {
        if (!(error instanceof NoMessage || error instanceof InvalidResponseError)) throw error;
      }
    }
  },
};

export const PACKET_TARGETS: readonly FuzzTarget[] = [udpPacket, etcdAnswer];
