/** Decodes messages about nexthop objects (linux/nexthop.h), and about the routes that use them. */

import * as k from "../../../ffi/linux.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";

/** A nexthop object (linux/nexthop.h). */
export interface DecodedNexthop {
  readonly id: number;
  readonly protocol: number;
  /** 0 for a group or a blackhole. */
  readonly ifindex: number;
  /** An IPv4 gateway as a number in host byte order; 0 if there is none. */
  readonly gateway: number;
  readonly onlink: boolean;
  /** Ids of the members, if it is a group. */
  readonly members: readonly number[];
}

/**
 * Decodes RTM_NEWNEXTHOP and RTM_DELNEXTHOP; `undefined` for objects of a bridge's forwarding
 * table.
 */
export function decodeNexthop(message: MessageReader): DecodedNexthop | undefined {
  const { view, start, end } = message;
  if (end - start < k.nhmsg.size) return undefined;
  attributes.read(message, start + k.nhmsg.size, end);
  const id = attributes.u32(k.NHA_ID);
  if (id === undefined || attributes.has(k.NHA_FDB)) return undefined;
  const gateway = attributes.bytes(k.NHA_GATEWAY);
  const group = attributes.bytes(k.NHA_GROUP);
  const members: number[] = [];
  for (let at = 0; group !== undefined && at + k.nexthop_grp.size <= group.length;) {
    members.push(view.getUint32(group.byteOffset - message.bytes.byteOffset + at, true));
    at += k.nexthop_grp.size;
  }
  return {
    id,
    protocol: view.getUint8(start + k.nhmsg.nh_protocol),
    ifindex: attributes.u32(k.NHA_OIF) ?? 0,
    gateway: gateway?.length === 4
      ? view.getUint32(gateway.byteOffset - message.bytes.byteOffset, false)
      : 0,
    onlink: (view.getUint32(start + k.nhmsg.nh_flags, true) & k.RTNH_F_ONLINK) !== 0,
    members,
  };
}

/** RTA_NH_ID: the nexthop object that a route uses; 0 if it uses none. */
export function nexthopIdOf(route: MessageReader): number {
  const { start, end } = route;
  if (end - start < k.rtmsg.size) return 0;
  return attributes.read(route, start + k.rtmsg.size, end).u32(k.RTA_NH_ID) ?? 0;
}

const attributes = new Attributes();
