/**
 * The supported part of etcd's v3 API, except Watch (watch_service.ts) and the calls that read and
 * write keys (key_calls.ts), and Auth (auth_calls.ts). grpc_server.ts rejects all other calls.
 */

import { Code, ConnectError, type ConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import {
  AlarmRequest_AlarmAction as AlarmAction,
  Cluster,
  KV,
  Lease,
  type LeaseKeepAliveRequest,
  Maintenance,
} from "../../etcd/api/rpc_pb.ts";
import type { Lessor } from "../mvcc/lessor.ts";
import type { Storage } from "../mvcc/storage.ts";
import type { MvccStore } from "../mvcc/mvcc_store.ts";
import { type Header, responseHeader, TERM } from "./response_header.ts";
import { rpcError } from "./rpc_error.ts";

export interface ServicesOptions {
  readonly store: MvccStore;
  readonly storage: Storage;
  readonly lessor: Lessor;
  /** For clients. */
  readonly url: string;
  readonly name: string;
}

/** The API version, which clients check before they use newer calls. */
const API_VERSION = "3.4.0";

export const KEEP_ALIVE_PATH = `/${Lease.typeName}/${Lease.method.leaseKeepAlive.name}`;

export function registerServices(router: ConnectRouter, options: ServicesOptions): void {
  const { store, storage } = options;
  const header = () => responseHeader(storage.identity, store.revision);
  router.service(KV, keyService(options, header));
  router.service(Lease, leaseService(options, header));
  router.service(Cluster, clusterService(options, header));
  router.service(Maintenance, maintenanceService(options, header));
}

/** key_calls.ts has the other calls of this service. */
function keyService(
  { store }: ServicesOptions,
  header: () => Header,
): Partial<ServiceImpl<typeof KV>> {
  return {
    compact: async ({ revision, physical }) => {
      const deletion = store.compact(revision);
      if (physical) await deletion;
      return { header: header() };
    },
  };
}

function leaseService(
  { lessor }: ServicesOptions,
  header: () => Header,
): Partial<ServiceImpl<typeof Lease>> {
  return {
    leaseGrant: ({ ID, TTL }) => {
      const { id, ttlSeconds } = lessor.grant({ id: ID, ttlSeconds: TTL });
      return { ID: id, TTL: ttlSeconds, header: header() };
    },
    leaseRevoke: ({ ID }) => {
      lessor.revoke(ID);
      return { header: header() };
    },
    leaseKeepAlive: async function* (requests: AsyncIterable<LeaseKeepAliveRequest>) {
      for await (const { ID } of requests) {
        yield { ID, TTL: await keepAlive(lessor, ID), header: header() };
      }
    },
    leaseLeases: () => ({ leases: lessor.ids.map((ID) => ({ ID })), header: header() }),
  };
}

/** Errors in the middle of a stream bypass the server's own translation. */
async function keepAlive(lessor: Lessor, id: bigint): Promise<bigint> {
  try {
    return await lessor.keepAlive(id);
  } catch (error) {
    throw rpcError(error);
  }
}

function clusterService(
  { storage, name, url }: ServicesOptions,
  header: () => Header,
): ServiceImpl<typeof Cluster> {
  return {
    memberList: () => ({
      members: [{ ID: storage.identity.memberId, name, clientURLs: [url] }],
      header: header(),
    }),
  };
}

function maintenanceService(
  { store, storage }: ServicesOptions,
  header: () => Header,
): ServiceImpl<typeof Maintenance> {
  return {
    // Since 3.5, `etcdctl endpoint health` asks for the alarms. There are none: a full disk fails
    // each write until there is room again, and needs no disarming.
    alarm: ({ action }) => {
      if (action === AlarmAction.GET) return { alarms: [], header: header() };
      const text = `flanneld datastore has no alarms (action ${action})`;
      throw new ConnectError(text, Code.Unimplemented);
    },
    status: () => {
      const { fileBytes, usedBytes } = storage.sizes();
      return {
        version: API_VERSION,
        dbSize: fileBytes,
        dbSizeInUse: usedBytes,
        leader: storage.identity.memberId,
        raftIndex: store.revision,
        raftAppliedIndex: store.revision,
        raftTerm: TERM,
        header: header(),
      };
    },
  };
}
