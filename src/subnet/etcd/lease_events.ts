/** Events of keys in etcd as events of leases. */

import { forEachWithMinorGc } from "../../base/for_each_with_minor_gc.ts";
import type { EtcdWatch } from "../../etcd/client/etcd.ts";
import type { InvalidLease, Lease, LeaseWatch } from "../lease.ts";
import { isInvalidLease } from "../lease_codec.ts";
import { packLease } from "../packed_lease.ts";
import type { LeaseRecords } from "./lease_records.ts";

/**
 * The same events about leases. A generator would hold its last event, a snapshot with the text of
 * every lease, until the next.
 */
export function leaseEvents(
  events: AsyncIterable<EtcdWatch>,
  records: LeaseRecords,
): AsyncIterable<LeaseWatch> {
  return {
    [Symbol.asyncIterator]: () => {
      const iterator = events[Symbol.asyncIterator]();
      return {
        async next(): Promise<IteratorResult<LeaseWatch, undefined>> {
          const { done, value } = await iterator.next();
          return done
            ? { done, value: undefined }
            : { done: false, value: leaseEvent(value, records) };
        },
        async return(): Promise<IteratorResult<LeaseWatch, undefined>> {
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

function leaseEvent(event: EtcdWatch, records: LeaseRecords): LeaseWatch {
  switch (event.kind) {
    case "snapshot": {
      const leases: Lease[] = [];
      const invalid: InvalidLease[] = [];
      forEachWithMinorGc(event.keyValues, (keyValue) => {
        const { lease } = records.record(keyValue);
        if (isInvalidLease(lease)) invalid.push(lease);
        else leases.push(packLease(lease));
      });
      return { kind: "snapshot", leases, invalid, revision: event.revision };
    }
    case "put": {
      const { lease } = records.record(event.keyValue);
      return isInvalidLease(lease) ? { kind: "invalid", invalid: lease } : { kind: "put", lease };
    }
    case "delete":
      return { kind: "delete", key: records.relativeKey(event.key) };
  }
}
