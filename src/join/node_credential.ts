/** What a node keeps after it has joined a datastore, so that it never needs the token again. */

import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { isJsonObject } from "../base/json_object.ts";
import { errorMessage } from "../base/operator_error.ts";
import { readRegularFile, replaceFile } from "../base/regular_file.ts";
import type { EtcdAccess } from "../etcd/client/cluster.ts";
import { JoinError } from "./join_error.ts";

export interface NodeCredential {
  /** `https://HOST:PORT`. */
  readonly endpoint: string;
  /** The certificate of the datastore's CA, in PEM. */
  readonly ca: string;
  readonly username: string;
  readonly password: string;
}

const MAX_FILE_BYTES = 64 * 1024;

/** `undefined` if the node has not joined. Throws `JoinError`. */
export function readCredential(path: string): NodeCredential | undefined {
  try {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
    const { bytes, mode } = readRegularFile(path, MAX_FILE_BYTES);
    if ((mode & 0o077) !== 0) {
      throw new Error(`other users may read it; chmod 600 ${path}`);
    }
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return parseCredential(value);
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? "it is not JSON" : errorMessage(cause);
    throw new JoinError(
      `cannot use ${path}, which was written when this node joined: ${reason}; if it is damaged, ` +
        "remove it and join again",
      { mayPass: false, cause },
    );
  }
}

/** The datastore that this node has joined. */
export function joinedDatastore(
  { endpoint, ca, username, password }: NodeCredential,
): EtcdAccess {
  const name = "the CA of the datastore that this node has joined";
  return { endpoints: [endpoint], tls: { texts: { ca: { text: ca, name } } }, username, password };
}

/** Throws `JoinError`. */
export async function writeCredential(path: string, credential: NodeCredential): Promise<void> {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const text = `${JSON.stringify({ version: 1, ...credential }, undefined, 1)}\n`;
    await replaceFile(path, text, { mode: 0o600, flush: true });
  } catch (cause) {
    throw new JoinError(
      `cannot write --join-state ${path}: ${errorMessage(cause)}; name a file that survives a ` +
        "reboot",
      { mayPass: false, cause },
    );
  }
}

function parseCredential(value: unknown): NodeCredential {
  const { version, endpoint, ca, username, password } = isJsonObject(value) ? value : {};
  if (
    version === 1 && typeof endpoint === "string" && typeof ca === "string" &&
    typeof username === "string" && typeof password === "string"
  ) return { endpoint, ca, username, password };
  throw new Error("it is not what flanneld has written");
}
