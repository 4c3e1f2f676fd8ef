/** What the events of a watch say about one key. */

import { assertNever } from "../../base/assert_never.ts";
import type { EtcdKeyValue, EtcdWatch } from "../../etcd/client/etcd.ts";

/**
 * The key after the event; its `keyValue` is `undefined` if it does not exist then. `undefined` for
 * an event of another key, since a watch is by prefix.
 */
export function keyStateAfter(
  event: EtcdWatch,
  key: string,
): { readonly keyValue: EtcdKeyValue | undefined } | undefined {
  switch (event.kind) {
    case "snapshot":
      return { keyValue: event.keyValues.find((one) => one.key === key) };
    case "put":
      return event.keyValue.key === key ? { keyValue: event.keyValue } : undefined;
    case "delete":
      return event.key === key ? { keyValue: undefined } : undefined;
    default:
      return assertNever(event);
  }
}
