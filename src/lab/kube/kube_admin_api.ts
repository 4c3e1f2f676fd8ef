/** Calls to the API server of a lab as its administrator, through a Unix socket. */

import { type ApiServerAccess, callApiServer } from "./api_server_call.ts";
import type { KubeObject } from "./lab_manifest.ts";

/** Each method throws with the server's message unless the call succeeds. */
export class KubeAdminApi {
  readonly #access: ApiServerAccess;

  constructor(access: ApiServerAccess) {
    this.#access = access;
  }

  async get(path: string): Promise<unknown> {
    return await callApiServer(this.#access, { method: "GET", path });
  }

  async post(path: string, body: object): Promise<unknown> {
    return await callApiServer(this.#access, { method: "POST", path, body });
  }

  async create(object: KubeObject): Promise<void> {
    await this.post(collectionPath(object), object);
  }
}

/** The path below which objects of this kind are created. */
export function collectionPath(
  { apiVersion, kind, metadata: { namespace } }: KubeObject,
): string {
  const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const scope = namespace === undefined ? "" : `/namespaces/${namespace}`;
  return `${group}${scope}/${kind.toLowerCase()}s`;
}
