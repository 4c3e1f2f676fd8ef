/** A charon of another network namespace: its tunnels are in the kernel's tables of that one. */

import { type ListenerNamespace, OWN_RUN, ownNamespace } from "../../process/listener_namespace.ts";
import { ViciError } from "./vici.ts";

/** It has our place and is of no use here: that does not change by starting another one. */
export class ForeignCharonError extends ViciError {
  constructor(
    socket: string,
    place: Extract<ListenerNamespace, { kind: "elsewhere" | "hidden" }>,
  ) {
    const what = place.kind === "hidden"
      ? "a process of another container"
      : `process ${place.pid} in network namespace ${place.namespace}`;
    const end = place.kind === "hidden" ? "" : `, or end that one with "kill ${place.pid}"`;
    super(
      "start",
      `the charon at ${socket} is ${what}, and this daemon is in ${ownNamespace()}, where that ` +
        `charon makes no tunnels; ${OWN_RUN}${end}`,
    );
  }
}
