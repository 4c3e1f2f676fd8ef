/** A charon of another network namespace, which creates its tunnels there. */

import { type ListenerNamespace, OWN_RUN, ownNamespace } from "../../process/listener_namespace.ts";
import { ViciError } from "./vici.ts";

/** It occupies our socket and cannot be used here; starting another charon would not help. */
export class ForeignCharonError extends ViciError {
  constructor(
    socket: string,
    place: Extract<ListenerNamespace, { kind: "elsewhere" | "hidden" }>,
  ) {
    const what = place.kind === "hidden"
      ? "a process of another container"
      : `process ${place.pid} in network namespace ${place.namespace}`;
    const end = place.kind === "hidden" ? "" : `, or stop it with "kill ${place.pid}"`;
    super(
      "start",
      `the charon at ${socket} is ${what}; this daemon is in ${ownNamespace()}, where that charon ` +
        `creates no tunnels: ${OWN_RUN}${end}`,
    );
  }
}
