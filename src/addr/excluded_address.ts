import type { IpAddress } from "./ip.ts";

/** An address that this host uses outside of the overlay, so that no subnet may contain it. */
export interface ExcludedAddress {
  readonly address: IpAddress;
  /** What it is, as in "the gateway of this host". */
  readonly what: string;
}
