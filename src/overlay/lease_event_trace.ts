import { assertNever } from "../base/assert_never.ts";
import type { Log } from "../log/log.ts";
import type { LeaseWatch } from "../subnet/lease.ts";

/**
 * Logs what a store reports of leases, at level trace, with the fields of docs/troubleshooting.md.
 */
export function traceLeaseEvent(log: Log, event: LeaseWatch): void {
  if (!log.isLevelEnabled("trace")) return;
  switch (event.kind) {
    case "snapshot": {
      const { revision, leases, invalid } = event;
      const fields = { event: "snapshot", revision: Number(revision), leases: leases.length };
      log.trace({ ...fields, invalid: invalid.length }, "leases received");
      for (const { key, changed } of leases) {
        log.trace({ event: "snapshot", lease: key, revision: Number(changed) }, MESSAGE);
      }
      return;
    }
    case "put": {
      const { key, changed } = event.lease;
      log.trace({ event: "put", lease: key, revision: Number(changed) }, MESSAGE);
      return;
    }
    case "invalid":
      log.trace({ event: "put", lease: event.invalid.key }, "invalid lease received");
      return;
    case "delete":
      log.trace({ event: "delete", lease: event.key }, MESSAGE);
      return;
    default:
      assertNever(event);
  }
}

const MESSAGE = "lease event";
