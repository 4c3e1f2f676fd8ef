/** The calls with possibly large responses: reads and writes of keys, and the keys of a lease. */

import { create, toBinary } from "@bufbuild/protobuf";
import { KV, Lease, type RangeRequest, RangeResponseSchema } from "../../etcd/api/rpc_pb.ts";
import { MemoryPool } from "../mvcc/memory_pool.ts";
import type { CommitQueue } from "../mvcc/commit_queue.ts";
import { checkDelete, checkPut, deleteKeys, putKey } from "../mvcc/key_writes.ts";
import type { Lessor } from "../mvcc/lessor.ts";
import { sliceRange, validateRange } from "../mvcc/range_query.ts";
import {
  assertCost,
  costOf,
  MAX_RESPONSE_BYTES,
  MAX_TRANSACTION_BYTES,
} from "../mvcc/read_cost.ts";
import { RequestError } from "../mvcc/request_error.ts";
import type { Storage } from "../mvcc/storage.ts";
import type { MvccStore, WriteTransaction } from "../mvcc/mvcc_store.ts";
import { performTransaction } from "../mvcc/transaction.ts";
import { validateTransaction } from "../mvcc/transaction_check.ts";
import { type Header, responseHeader } from "./response_header.ts";
import type { StreamHandler } from "./grpc_server.ts";
import { type CallReservations, unaryCall } from "./unary_call.ts";

export interface KeyCallsOptions {
  readonly store: MvccStore;
  readonly storage: Storage;
  readonly commits: CommitQueue;
  readonly lessor: Lessor;
  readonly pool: MemoryPool;
}

/** For waiting requests with their content; the small writes of nodes are performed at once. */
const REQUESTS = { smallBytes: 32 << 20, largeBytes: 64 << 20 };

export function keyCalls(options: KeyCallsOptions): [path: string, handler: StreamHandler][] {
  const { store, storage, commits, lessor, pool } = options;
  const pools = { responses: pool, requests: new MemoryPool(REQUESTS) };
  const hasLease = (id: bigint) => lessor.has(id);
  const headerAt = (revision: bigint) => responseHeader(storage.identity, revision);
  const write = async <T extends object>(
    memory: CallReservations,
    act: (transaction: WriteTransaction) => T,
  ): Promise<T & { header: Header }> => {
    for (;;) {
      try {
        const { result, revision } = await commits.write((transaction) => {
          memory.restart();
          transaction.charge = (size) => memory.charge(size);
          return act(transaction);
        });
        return { ...result, header: headerAt(revision) };
      } catch (error) {
        if (!(error instanceof RequestError) || error.reason !== "tooManyRequests") throw error;
        await memory.prepay();
      }
    }
  };
  return [
    unaryCall(KV.method.range, pools, async (request, memory) => {
      validateRange(request);
      return await range(store, request, { memory, headerAt });
    }),
    unaryCall(KV.method.put, pools, async (request, memory) => {
      checkPut(request);
      const { prevKv, header } = await write(
        memory,
        (transaction) => putKey(transaction, request, hasLease),
      );
      return { ...(prevKv && { prevKv }), header };
    }),
    unaryCall(KV.method.deleteRange, pools, async (request, memory) => {
      checkDelete(request);
      const result = await write(memory, (transaction) => deleteKeys(transaction, request));
      return { ...result, prevKvs: [...result.prevKvs] };
    }),
    unaryCall(KV.method.txn, pools, async (request, memory) => {
      validateTransaction(request);
      return await write(
        memory,
        (transaction) => performTransaction(transaction, request, hasLease),
      );
    }),
    unaryCall(Lease.method.leaseTimeToLive, pools, async ({ ID, keys }, memory) => {
      if (keys) {
        const cost = costOf(storage.leaseKeysSize(ID));
        assertCost(cost, MAX_TRANSACTION_BYTES);
        await memory.take(cost);
      }
      const header = headerAt(store.revision);
      const timeToLive = lessor.timeToLive(ID);
      if (timeToLive === undefined) return { ID, TTL: -1n, header };
      const { remainingSeconds, grantedSeconds } = timeToLive;
      const attached = keys ? lessor.attachedKeys(ID) : [];
      return { ID, TTL: remainingSeconds, grantedTTL: grantedSeconds, keys: attached, header };
    }),
  ];
}

/** The response in parts: concatenated protobuf messages are one message with the fields of all. */
async function range(
  store: MvccStore,
  request: RangeRequest,
  { memory, headerAt }: { memory: CallReservations; headerAt: (revision: bigint) => Header },
): Promise<Uint8Array[]> {
  using snapshot = store.snapshot(request.revision);
  const header = headerAt(snapshot.storeRevision);
  const parts: Uint8Array[] = [];
  const { more, count } = await sliceRange(snapshot, request, {
    admit: (cost) => {
      assertCost(cost, MAX_RESPONSE_BYTES);
      return memory.take(cost);
    },
    emit: (kvs) => {
      const part = create(RangeResponseSchema, { kvs: [...kvs] });
      parts.push(toBinary(RangeResponseSchema, part));
    },
    pause: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      memory.assertWanted();
    },
  });
  const rest = create(RangeResponseSchema, { header, more, count });
  return [toBinary(RangeResponseSchema, rest), ...parts];
}
