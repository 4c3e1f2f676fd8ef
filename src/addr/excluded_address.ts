/** Addresses that no subnet may contain. */

import type { IpAddress } from "./ip.ts";

/** An address that this host uses outside of the overlay. */
export interface ExcludedAddress {
  readonly address: IpAddress;
  /** Its role, such as "the gateway of this host". */
  readonly what: string;
}
