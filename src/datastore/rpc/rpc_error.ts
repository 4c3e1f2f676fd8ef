/** What the datastore throws, as gRPC clients understand it. */

import { Code, ConnectError } from "@connectrpc/connect";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { RequestError } from "../mvcc/request_error.ts";

/** An error that no client can do anything about has the code `Internal`. */
export function rpcError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof RequestError) return new ConnectError(error.message, error.code);
  if (error instanceof DatastoreError) {
    return new ConnectError(`flanneld datastore: ${error.message}`, Code.Unavailable);
  }
  const text = error instanceof Error ? error.message : String(error);
  return new ConnectError(
    `flanneld datastore: ${text}`,
    Code.Internal,
    undefined,
    undefined,
    error,
  );
}
