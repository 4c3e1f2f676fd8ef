/**
 * KV.Txn: chooses the branch and performs its operations (etcd's server/etcdserver/txn, `Txn`).
 *
 * All comparisons, including those of nested transactions, use the keys before the first operation.
 * Everything that could fail is checked before the first write.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type Compare,
  Compare_CompareResult as CompareResult,
  Compare_CompareTarget as CompareTarget,
  type ResponseOpSchema,
  type TxnRequest,
  type TxnResponseSchema,
} from "../../etcd/api/rpc_pb.ts";
import type { RevisionEntry } from "./revision_entry.ts";
import { compareKeys, keyInterval } from "./key_interval.ts";
import { deleteKeys, type LeaseExistence, putKey } from "./key_writes.ts";
import { queryRange } from "./range_query.ts";
import { RequestError } from "./request_error.ts";
import type { ReadView, WriteTransaction } from "./mvcc_store.ts";

/** The operations that a transaction performs on the current keys. */
interface Path {
  readonly succeeded: boolean;
  readonly steps: readonly Step[];
}

type Operation = TxnRequest["success"][number]["request"];
type Step =
  | Exclude<Operation, { case: "requestTxn" | undefined }>
  | { readonly case: "path"; readonly path: Path };

/** Performs a validated transaction. Throws `RequestError` and changes nothing. */
export function performTransaction(
  transaction: WriteTransaction,
  request: TxnRequest,
  hasLease: LeaseExistence,
): MessageInitShape<typeof TxnResponseSchema> {
  const path = choosePath(transaction, request);
  const steps = flatten(path);
  for (const step of steps) {
    if (step.case === "requestPut") assertPossible(transaction, step.value, hasLease);
  }
  for (const step of steps) {
    if (step.case === "requestRange") transaction.assertReadable(step.value.revision);
  }
  const { succeeded, responses } = perform(transaction, path, hasLease);
  return { succeeded, responses, header: { revision: transaction.revision } };
}

const NO_KEY = new Uint8Array();

interface ResponseInit {
  readonly response: NonNullable<MessageInitShape<typeof ResponseOpSchema>["response"]>;
}

function choosePath(view: ReadView, request: TxnRequest): Path {
  const succeeded = request.compare.every((compare) => holds(view, compare));
  const steps = (succeeded ? request.success : request.failure).map(({ request }): Step => {
    if (request.case === undefined) throw new RequestError("keyNotFound");
    return request.case === "requestTxn"
      ? { case: "path", path: choosePath(view, request.value) }
      : request;
  });
  return { succeeded, steps };
}

function flatten({ steps }: Path): Exclude<Step, { case: "path" }>[] {
  return steps.flatMap((step) => step.case === "path" ? flatten(step.path) : [step]);
}

function assertPossible(
  view: WriteTransaction,
  put: Parameters<typeof putKey>[1],
  hasLease: LeaseExistence,
): void {
  const needsKey = put.ignoreValue || put.ignoreLease;
  if (needsKey && view.properties(put.key) === undefined) throw new RequestError("keyNotFound");
  if (put.lease !== 0n && !hasLease(put.lease)) throw new RequestError("leaseNotFound");
}

function perform(
  transaction: WriteTransaction,
  { succeeded, steps }: Path,
  hasLease: LeaseExistence,
): { succeeded: boolean; responses: ResponseInit[] } {
  const responses = steps.map((step) => ({ response: performStep(transaction, step, hasLease) }));
  return { succeeded, responses };
}

function performStep(
  transaction: WriteTransaction,
  step: Step,
  hasLease: LeaseExistence,
): ResponseInit["response"] {
  const header = () => ({ header: { revision: transaction.revision } });
  switch (step.case) {
    case "requestRange": {
      const { kvs, more, count } = queryRange(transaction, step.value);
      return { case: "responseRange", value: { kvs: [...kvs], more, count, ...header() } };
    }
    case "requestPut": {
      const { prevKv } = putKey(transaction, step.value, hasLease);
      return { case: "responsePut", value: { ...(prevKv && { prevKv }), ...header() } };
    }
    case "requestDeleteRange": {
      const { deleted, prevKvs } = deleteKeys(transaction, step.value);
      return {
        case: "responseDeleteRange",
        value: { deleted, prevKvs: [...prevKvs], ...header() },
      };
    }
    case "path": {
      const { succeeded, responses } = perform(transaction, step.path, hasLease);
      return { case: "responseTxn", value: { succeeded, responses, header: {} } };
    }
  }
}

/** A comparison with a range holds if it holds for each of its keys. */
function holds(view: ReadView, compare: Compare): boolean {
  // Reads the values to verify the checksums: a comparison may not use damaged numbers.
  const { entries } = view.read(keyInterval(compare.key, compare.rangeEnd));
  if (entries.length > 0) return entries.every((entry) => holdsFor(entry, compare));
  // A missing and an empty value look the same in a request.
  if (compare.target === CompareTarget.VALUE) return false;
  return holdsFor(ABSENT, compare);
}

const ABSENT: RevisionEntry = {
  key: NO_KEY,
  value: NO_KEY,
  createRevision: 0n,
  modRevision: 0n,
  version: 0n,
  lease: 0n,
};

function holdsFor(entry: RevisionEntry, compare: Compare): boolean {
  const order = compareTarget(entry, compare);
  switch (compare.result) {
    case CompareResult.EQUAL:
      return order === 0;
    case CompareResult.NOT_EQUAL:
      return order !== 0;
    case CompareResult.GREATER:
      return order > 0;
    case CompareResult.LESS:
      return order < 0;
    default:
      return true;
  }
}

/** Compares the entry with the request; what the request omits is 0 or empty. */
function compareTarget(entry: RevisionEntry, { target, targetUnion }: Compare): number {
  const number = (name: NumberTarget, value: bigint) => {
    const other = targetUnion.case === name ? targetUnion.value : 0n;
    return value < other ? -1 : value > other ? 1 : 0;
  };
  switch (target) {
    case CompareTarget.VALUE:
      return compareKeys(entry.value, targetUnion.case === "value" ? targetUnion.value : NO_KEY);
    case CompareTarget.VERSION:
      return number("version", entry.version);
    case CompareTarget.CREATE:
      return number("createRevision", entry.createRevision);
    case CompareTarget.MOD:
      return number("modRevision", entry.modRevision);
    case CompareTarget.LEASE:
      return number("lease", entry.lease);
    default:
      return 0;
  }
}

type NumberTarget = "version" | "createRevision" | "modRevision" | "lease";
