/** Filters of dump requests: what the kernel can leave out since it checks them (Linux 4.20). */

import { libnlCore } from "../../../ffi/libnl.ts";
import type { AddAttributes } from "../wire/libnl_batch.ts";

/** Limits a dump to entries with this value of an attribute; 0 is no limit. */
export function writeFilter(attribute: number, value: number): AddAttributes {
  return (message) => {
    if (value !== 0) libnlCore().nla_put_u32(message, attribute, value);
  };
}
