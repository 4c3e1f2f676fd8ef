/** A charon of another network namespace, which creates its tunnels there. */

import { type ListenerNamespace, OWN_RUN, ownNamespace } from "../../process/listener_namespace.ts";
import { CharonError } from "./charon_error.ts";

export type ForeignListener = Extract<ListenerNamespace, { kind: "elsewhere" | "hidden" }>;

/** It has our socket and cannot be used here; starting another charon would not help. */
export class ForeignCharonError extends CharonError {
  override readonly name = "ForeignCharonError";
  readonly socket: string;
  readonly listener: ForeignListener;

  constructor(socket: string, listener: ForeignListener) {
    const what = listener.kind === "hidden"
      ? "a process of another container"
      : `process ${listener.pid} in network namespace ${listener.namespace}`;
    const end = listener.kind === "hidden" ? "" : `, or stop it with "kill ${listener.pid}"`;
    super(
      "not started",
      `the charon at ${socket} is ${what}; this daemon is in ${ownNamespace()}, where that ` +
        `charon creates no tunnels: ${OWN_RUN}${end}`,
    );
    this.socket = socket;
    this.listener = listener;
  }
}
