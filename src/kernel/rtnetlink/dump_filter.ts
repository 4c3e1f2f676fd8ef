/** Filters of dump requests, which the kernel applies since it checks requests (Linux 4.20). */

import { libnlCore } from "../../../ffi/libnl.ts";
import type { AddAttributes } from "../wire/libnl_batch.ts";

/** Limits a dump to entries whose attribute has this value; 0 is no limit. */
export function writeFilter(attribute: number, value: number): AddAttributes {
  return (message) => {
    if (value !== 0) libnlCore().nla_put_u32(message, attribute, value);
  };
}
