/** Address families as the kernel numbers them (address_families(7)). */

import { AF_INET, AF_INET6 } from "../../../ffi/linux.ts";
import type { Family } from "../../addr/ip.ts";

/** AF_INET or AF_INET6. */
export function addressFamily(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

/** The inverse of `addressFamily`; `undefined` for any other number. */
export function familyFrom(addressFamily: number): Family | undefined {
  return addressFamily === AF_INET ? 4 : addressFamily === AF_INET6 ? 6 : undefined;
}

/** Length of an address in bytes. */
export function addressLength(family: Family): 4 | 16 {
  return family === 4 ? 4 : 16;
}
