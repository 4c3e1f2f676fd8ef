/** The header of every response of etcd. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ResponseHeaderSchema } from "../../etcd/api/rpc_pb.ts";
import type { ClusterIdentity } from "../mvcc/storage.ts";

export type Header = MessageInitShape<typeof ResponseHeaderSchema>;

/** There are no elections: the term is always the first. */
export const TERM = 1n;

/** `revision`: the store's revision at the time of the response. */
export function responseHeader(identity: ClusterIdentity, revision: bigint): Header {
  return { ...identity, revision, raftTerm: TERM };
}
