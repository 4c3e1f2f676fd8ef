/** The header that every answer of etcd carries. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ResponseHeaderSchema } from "../../etcd/api/rpc_pb.ts";
import type { ClusterIdentity } from "../mvcc/storage.ts";

export type Header = MessageInitShape<typeof ResponseHeaderSchema>;

/** There are no elections: the term stays the first one. */
export const TERM = 1n;

/** `revision`: of the store when the call is answered. */
export function responseHeader(identity: ClusterIdentity, revision: bigint): Header {
  return { ...identity, revision, raftTerm: TERM };
}
