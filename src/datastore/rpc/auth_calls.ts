/** Auth: etcd's calls for users, as far as clients need them. Operators use the control socket. */

import { Auth } from "../../etcd/api/rpc_pb.ts";
import type { AccessControl } from "../access/access_control.ts";
import { RequestError } from "../mvcc/request_error.ts";
import type { CallGuard, StreamHandler } from "./grpc_server.ts";
import type { Header } from "./response_header.ts";
import { type MemoryPools, unaryCall } from "./unary_call.ts";

export interface AuthCallsOptions {
  /** `undefined` without authentication. */
  readonly access: AccessControl | undefined;
  readonly header: () => Header;
  readonly pools: MemoryPools;
}

export function authCalls(
  { access, header, pools }: AuthCallsOptions,
): [path: string, handler: StreamHandler][] {
  return [
    unaryCall(Auth.method.authenticate, pools, (credential, _, { address }) => {
      if (access === undefined) throw new RequestError("authNotEnabled");
      return Promise.resolve({ token: access.authenticate(credential, address), header: header() });
    }),
    unaryCall(Auth.method.userAdd, pools, async (credential, _, { address, caller }) => {
      if (access === undefined) throw new RequestError("authNotEnabled");
      if (caller?.kind !== "token") throw new RequestError("permissionDenied");
      await access.join(caller.id, credential, address);
      return { header: header() };
    }),
  ];
}

/** A node that presents a join token may add itself as a user, and do nothing else. */
export function callGuard(access: Pick<AccessControl, "callerOf">): CallGuard {
  return {
    admit(path, token) {
      if (path === AUTHENTICATE_PATH) return undefined;
      const caller = access.callerOf(token);
      if (caller.kind === "token" && path !== USER_ADD_PATH) {
        throw new RequestError("permissionDenied");
      }
      return caller;
    },
  };
}

const AUTHENTICATE_PATH = `/${Auth.typeName}/${Auth.method.authenticate.name}`;
const USER_ADD_PATH = `/${Auth.typeName}/${Auth.method.userAdd.name}`;
