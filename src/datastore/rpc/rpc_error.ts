/** Errors of the datastore as gRPC errors. */

import { Code, ConnectError } from "@connectrpc/connect";
import { errorMessage } from "../../base/operator_error.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { RequestError } from "../mvcc/request_error.ts";

/** The error for the client; its code is `Internal` for a bug. */
export function rpcError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof RequestError) return new ConnectError(error.message, error.code);
  if (error instanceof DatastoreError) {
    return new ConnectError(`flanneld datastore: ${error.message}`, Code.Unavailable);
  }
  const text = errorMessage(error);
  return new ConnectError(
    `flanneld datastore: ${text}`,
    Code.Internal,
    undefined,
    undefined,
    error,
  );
}
