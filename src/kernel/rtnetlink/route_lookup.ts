/** What the kernel would do with a packet: `ip route get`. */

import { errnoName } from "../../../ffi/errno.ts";
import * as k from "../../../ffi/linux.ts";
import type { IpAddress } from "../../addr/ip.ts";
import type { Channel } from "../wire/channel.ts";
import { type DecodedLookup, decodeLookup } from "./decoder.ts";
import type { Encoder } from "./encoder.ts";
import { findLink } from "./links.ts";
import { refused } from "../table/step_result.ts";

/** What the kernel would do with a packet to one address. */
export interface RouteLookup {
  /** Output device; absent if the address is unreachable. */
  readonly link?: string;
  readonly ifindex?: number;
  readonly gateway?: IpAddress;
  /** The source address that the kernel would choose. */
  readonly source?: IpAddress;
  /** Whether it is an address of this host. */
  readonly local: boolean;
}

/** An unreachable address is a result, no error. Throws `KernelError`. */
export function lookUpRoute(questions: Channel<Encoder>, address: IpAddress): RouteLookup {
  let found: DecodedLookup | undefined;
  const refusal = questions.ask((encoder) => encoder.getRoute(address), (reply) => {
    found = decodeLookup(reply);
  });
  if (refusal !== undefined && !UNREACHABLE.has(errnoName(refusal.errno))) {
    throw refused(`look up the route to ${address}`, refusal);
  }
  const isUsable = found?.type === k.RTN_UNICAST || found?.type === k.RTN_LOCAL;
  if (refusal !== undefined || found === undefined || !isUsable) return { local: false };
  const { ifindex, gateway, source, type } = found;
  const link = findLink(questions, ifindex)?.link.name;
  return {
    ...(link === undefined ? {} : { link, ifindex }),
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
    local: type === k.RTN_LOCAL,
  };
}

/** What RTM_GETROUTE is refused with where a packet could not be sent. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  "ENETUNREACH",
  "EHOSTUNREACH",
  "EACCES",
  "EINVAL",
]);
