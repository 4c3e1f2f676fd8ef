/** An address of this host that is given from outside instead of read from an interface. */

import type { IpAddress } from "./ip.ts";

export interface GivenAddress {
  readonly address: IpAddress;
  /** Where it was given, for messages, such as `--public-ip`. */
  readonly source: string;
}
