/** Calls the datastore that serves a directory on this machine. */

import { join } from "node:path";
import { isJsonObject } from "../../base/json_object.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { socketFailure } from "../../base/socket_failure.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { CONTROL_SOCKET, type ControlCommand, type ControlCommands } from "./control_protocol.ts";

const TIMEOUT_MS = 30_000;

/** Throws `DatastoreError`: it does not run, or has refused the command. */
export async function callControl<Command extends ControlCommand>(
  directory: string,
  command: Command,
  argument: ControlCommands[Command]["argument"],
): Promise<ControlCommands[Command]["result"]> {
  const body = await post(directory, JSON.stringify({ command, argument }));
  if (!isJsonObject(body) || typeof body["error"] === "string") {
    throw new DatastoreError(isJsonObject(body) ? String(body["error"]) : "an empty response");
  }
  return body["result"] as ControlCommands[Command]["result"];
}

async function post(directory: string, body: string): Promise<unknown> {
  const unix = join(directory, CONTROL_SOCKET);
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await fetch("http://datastore/", { method: "POST", unix, body, signal });
    return await response.json();
  } catch (cause) {
    const failure = socketFailure(cause);
    const reason = failure === "absent"
      ? `no datastore that uses tokens serves ${directory}; start it, or name its --data-dir`
      : failure === "denied"
      ? "permission denied; run this as root or as the user of the datastore"
      : errorMessage(cause);
    throw new DatastoreError(`cannot call the datastore at ${unix}: ${reason}`, { cause });
  }
}
