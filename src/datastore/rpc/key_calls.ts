/** The calls with possibly large responses: reads and writes of keys, and the keys of a lease. */

import { create, toBinary } from "@bufbuild/protobuf";
import { KV, Lease, type RangeRequest, RangeResponseSchema } from "../../etcd/api/rpc_pb.ts";
import { ResponsePool } from "../mvcc/response_pool.ts";
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
import type { StreamHandler } from "./http2_server.ts";
import { type CallShares, unaryCall } from "./unary_call.ts";

export interface KeyCallsOptions {
  readonly store: MvccStore;
  readonly storage: Storage;
  readonly commits: CommitQueue;
  readonly leases: Lessor;
  readonly pool: ResponsePool;
}

/** For waiting requests with their content; the small writes of nodes are performed at once. */
const REQUESTS = { smallBytes: 32 << 20, largeBytes: 64 << 20 };

export function keyCalls(options: KeyCallsOptions): [path: string, handler: StreamHandler][] {
  const { store, storage, commits, leases, pool } = options;
  const memory = { responses: pool, requests: new ResponsePool(REQUESTS) };
  const hasLease = (id: bigint) => leases.has(id);
  const headerAt = (revision: bigint) => responseHeader(storage.identity, revision);
  const write = async <T extends object>(
    shares: CallShares,
    act: (transaction: WriteTransaction) => T,
  ): Promise<T & { header: Header }> => {
    for (;;) {
      try {
        const { result, revision } = await commits.write((transaction) => {
          shares.restart();
          transaction.charge = (size) => shares.charge(size);
          return act(transaction);
        });
        return { ...result, header: headerAt(revision) };
      } catch (error) {
        if (!(error instanceof RequestError) || error.reason !== "tooManyRequests") throw error;
        await shares.prepay();
      }
    }
  };
  return [
    unaryCall(KV.method.range, memory, async (request, shares) => {
      validateRange(request);
      return await range(store, request, { shares, headerAt });
    }),
    unaryCall(KV.method.put, memory, async (request, shares) => {
      checkPut(request);
      const { prevKv, header } = await write(
        shares,
        (transaction) => putKey(transaction, request, hasLease),
      );
      return { ...(prevKv && { prevKv }), header };
    }),
    unaryCall(KV.method.deleteRange, memory, async (request, shares) => {
      checkDelete(request);
      const result = await write(shares, (transaction) => deleteKeys(transaction, request));
      return { ...result, prevKvs: [...result.prevKvs] };
    }),
    unaryCall(KV.method.txn, memory, async (request, shares) => {
      validateTransaction(request);
      return await write(
        shares,
        (transaction) => performTransaction(transaction, request, hasLease),
      );
    }),
    unaryCall(Lease.method.leaseTimeToLive, memory, async ({ ID, keys }, shares) => {
      if (keys) {
        const cost = costOf(storage.leaseKeysSize(ID));
        assertCost(cost, MAX_TRANSACTION_BYTES);
        await shares.take(cost);
      }
      const header = headerAt(store.revision);
      const timeToLive = leases.timeToLive(ID);
      if (timeToLive === undefined) return { ID, TTL: -1n, header };
      const { remainingSeconds, grantedSeconds } = timeToLive;
      const attached = keys ? leases.attachedKeys(ID) : [];
      return { ID, TTL: remainingSeconds, grantedTTL: grantedSeconds, keys: attached, header };
    }),
  ];
}

/** The response in parts: concatenated protobuf messages are one message with the fields of all. */
async function range(
  store: MvccStore,
  request: RangeRequest,
  { shares, headerAt }: { shares: CallShares; headerAt: (revision: bigint) => Header },
): Promise<Uint8Array[]> {
  using snapshot = store.snapshot(request.revision);
  const header = headerAt(snapshot.storeRevision);
  const parts: Uint8Array[] = [];
  const { more, count } = await sliceRange(snapshot, request, {
    admit: (cost) => {
      assertCost(cost, MAX_RESPONSE_BYTES);
      return shares.take(cost);
    },
    emit: (kvs) => {
      const part = create(RangeResponseSchema, { kvs: [...kvs] });
      parts.push(toBinary(RangeResponseSchema, part));
    },
    pause: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      shares.assertWanted();
    },
  });
  const rest = create(RangeResponseSchema, { header, more, count });
  return [toBinary(RangeResponseSchema, rest), ...parts];
}
