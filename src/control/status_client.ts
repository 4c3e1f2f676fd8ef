/** Asks the daemons of this host for their documents. */

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isJsonObject } from "../base/json_object.ts";
import { errorMessage, OperatorError } from "../base/operator_error.ts";
import { quoted } from "../base/quoting.ts";
import { socketFailure } from "../base/socket_failure.ts";
import type { PeersDocument } from "./peer_document.ts";
import type { StatusDocument } from "./status_document.ts";
import { SOCKET_SUFFIX } from "./status_path.ts";

/** A daemon does not answer, or answers with an error. */
export class StatusCallError extends OperatorError {
  override readonly name = "StatusCallError";
  /** No daemon listens at this socket. */
  readonly isAbsent: boolean;

  constructor(message: string, options: ErrorOptions & { readonly isAbsent?: boolean } = {}) {
    super(message, options);
    this.isAbsent = options.isAbsent ?? false;
  }
}

const TIMEOUT_MS = 10_000;
const MAX_BYTES = 64 * 1024 * 1024;

/** The sockets in a directory, sorted; none if it does not exist. */
export function socketsIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => name.endsWith(SOCKET_SUFFIX))
      .map((name) => join(directory, name))
      .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isSocket()).sort();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw new StatusCallError(`cannot look for daemons in ${directory}: ${errorMessage(cause)}`, {
      cause,
    });
  }
}

/** Throws `StatusCallError`. */
export async function readStatus(socket: string): Promise<StatusDocument> {
  const document = await get(socket, "/v1/status");
  if (!isJsonObject(document) || typeof document["ready"] !== "boolean") {
    throw new StatusCallError(`another program answers at ${socket}`);
  }
  return document as unknown as StatusDocument;
}

/** All peers, or those that the query selects. Throws `StatusCallError`. */
export async function readPeers(
  socket: string,
  query: Readonly<Record<string, string>> = {},
): Promise<PeersDocument> {
  const document = await get(socket, `/v1/peers?${new URLSearchParams(query)}`);
  if (!isJsonObject(document) || !Array.isArray(document["peers"])) {
    throw new StatusCallError(`another program answers at ${socket}`);
  }
  return document as unknown as PeersDocument;
}

async function get(socket: string, path: string): Promise<unknown> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await fetch(`http://flanneld${path}`, { unix: socket, signal });
    const body: unknown = JSON.parse(await limitedText(response));
    if (response.status === 200) return body;
    const error = isJsonObject(body) ? body["error"] : undefined;
    throw new StatusCallError(`status ${response.status}: ${quoted(error)}`);
  } catch (cause) {
    const failure = socketFailure(cause);
    const isAbsent = failure === "absent";
    const reason = isAbsent
      ? "no daemon listens there"
      : failure === "denied"
      ? "permission denied; run this as root"
      : errorMessage(cause);
    throw new StatusCallError(`cannot ask flanneld at ${socket}: ${reason}`, { cause, isAbsent });
  }
}

async function limitedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > MAX_BYTES) throw new StatusCallError(`it sent more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
