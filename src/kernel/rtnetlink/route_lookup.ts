/** Look-ups of the route to an address: `ip route get`. */

import { errnoName } from "../../../ffi/errno.ts";
import { libnlCore } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import { addressOf, fixedBuffer, type Pointer } from "../../../ffi/memory.ts";
import { familyOf, type IpAddress } from "../../addr/ip.ts";
import { refusalError } from "../table/step_result.ts";
import { writeAddress } from "../wire/address_bytes.ts";
import { addressFamily, addressLength } from "../wire/address_family.ts";
import { addressText } from "../wire/attribute_values.ts";
import type { Channel } from "../wire/channel.ts";
import type { MessageBatch } from "../wire/message_batch.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";
import { findLink } from "./links.ts";
import { gatewayOf } from "./route_codec.ts";
import type { RtnetlinkEncoder } from "./rtnetlink_encoder.ts";

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

/** An unreachable address is a result, not an error. Throws `KernelError`. */
export function lookUpRoute(queries: Channel<RtnetlinkEncoder>, address: IpAddress): RouteLookup {
  let found: DecodedLookup | undefined;
  const refusal = queries.get((batch) => getRoute(batch, address), (reply) => {
    found = decodeLookup(reply);
  });
  if (refusal !== undefined && !UNREACHABLE.has(errnoName(refusal.errno))) {
    throw refusalError(`look up the route to ${address}`, refusal);
  }
  const isUsable = found?.type === k.RTN_UNICAST || found?.type === k.RTN_LOCAL;
  if (refusal !== undefined || found === undefined || !isUsable) return { local: false };
  const { ifindex, gateway, source, type } = found;
  const link = findLink(queries, ifindex)?.link.name;
  return {
    ...(link === undefined ? {} : { link, ifindex }),
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
    local: type === k.RTN_LOCAL,
  };
}

/** Appends RTM_GETROUTE for one destination. */
function getRoute(batch: MessageBatch, destination: IpAddress): void {
  const family = familyOf(destination);
  const header = new Uint8Array(k.rtmsg.size);
  header[k.rtmsg.rtm_family] = addressFamily(family);
  header[k.rtmsg.rtm_dst_len] = addressLength(family) * 8;
  const length = writeAddress(destination, scratch);
  batch.build(k.RTM_GETROUTE, 0, header, (message) => {
    libnlCore().nla_put(message, k.RTA_DST, length, scratchAddress);
  });
}

/** A reply to RTM_GETROUTE. */
interface DecodedLookup {
  readonly type: number;
  readonly ifindex: number;
  readonly gateway?: IpAddress;
  readonly source?: IpAddress;
}

export function decodeLookup(message: MessageReader): DecodedLookup | undefined {
  const { view, start, end } = message;
  if (end - start < k.rtmsg.size) return undefined;
  attributes.read(message, start + k.rtmsg.size, end);
  const gateway = gatewayOf(attributes);
  const source = addressText(attributes.bytes(k.RTA_PREFSRC));
  return {
    type: view.getUint8(start + k.rtmsg.rtm_type),
    ifindex: attributes.u32(k.RTA_OIF) ?? 0,
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
  };
}

const attributes = new Attributes();
const scratch = fixedBuffer(16);
const scratchAddress: Pointer = addressOf(scratch);

/** Errno names with which the kernel refuses RTM_GETROUTE for an unreachable address. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  "ENETUNREACH",
  "EHOSTUNREACH",
  "EACCES",
  "EINVAL",
]);
