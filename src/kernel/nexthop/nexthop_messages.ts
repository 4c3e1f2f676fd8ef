/** Messages about nexthop objects (linux/nexthop.h), and about IPv4 routes that use them. */

import { libnlCore } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import { addressOf, fixedBuffer, type Pointer } from "../../../ffi/memory.ts";
import { prefixAddress, prefixLength } from "../../addr/prefix.ts";
import { type Route, RTPROT_FLANNEL } from "../../state/resource.ts";
import { creationFlags, type EntryOperation } from "../table/entry_operation.ts";
import { writeAddress } from "../wire/address_bytes.ts";
import type { MessageBatch } from "../wire/message_batch.ts";

/**
 * Appends the creation of an object for an onlink IPv4 gateway (RTM_NEWNEXTHOP). The gateway, as a
 * number, is the id; no object with this id may exist.
 */
export function createNexthop(batch: MessageBatch, id: number, ifindex: number): void {
  const nl = libnlCore();
  const header = new Uint8Array(k.nhmsg.size);
  header[k.nhmsg.nh_family] = k.AF_INET;
  header[k.nhmsg.nh_protocol] = RTPROT_FLANNEL;
  header[k.nhmsg.nh_flags] = k.RTNH_F_ONLINK; // lowest byte of a little-endian word
  batch.build(k.RTM_NEWNEXTHOP, k.NLM_F_CREATE | k.NLM_F_EXCL, header, (message) => {
    nl.nla_put_u32(message, k.NHA_ID, id);
    nl.nla_put_u32(message, k.NHA_OIF, ifindex);
    for (let i = 0; i < 4; i++) scratch[i] = id >>> (24 - 8 * i);
    nl.nla_put(message, k.NHA_GATEWAY, 4, scratchAddress);
  });
}

/** Appends RTM_DELNEXTHOP; the kernel deletes the routes that use the object, too. */
export function deleteNexthop(batch: MessageBatch, id: number): void {
  batch.build(k.RTM_DELNEXTHOP, 0, new Uint8Array(k.nhmsg.size), (message) => {
    libnlCore().nla_put_u32(message, k.NHA_ID, id);
  });
}

/** Appends a request for one object. */
export function getNexthop(batch: MessageBatch, id: number): void {
  batch.build(k.RTM_GETNEXTHOP, 0, new Uint8Array(k.nhmsg.size), (message) => {
    libnlCore().nla_put_u32(message, k.NHA_ID, id);
  });
}

/** Appends a request for all nexthop objects. */
export function dumpNexthops(batch: MessageBatch): void {
  batch.build(k.RTM_GETNEXTHOP, k.NLM_F_DUMP, new Uint8Array(k.nhmsg.size));
}

/** Appends the message for an IPv4 unicast route that uses a nexthop object. */
export function routeThroughNexthop(
  batch: MessageBatch,
  operation: EntryOperation,
  route: Route,
  id: number,
): void {
  const nl = libnlCore();
  const header = new Uint8Array(k.rtmsg.size);
  header[k.rtmsg.rtm_family] = k.AF_INET;
  header[k.rtmsg.rtm_dst_len] = prefixLength(route.destination);
  header[k.rtmsg.rtm_protocol] = route.protocol;
  header[k.rtmsg.rtm_scope] = route.scope === "link" ? k.RT_SCOPE_LINK : k.RT_SCOPE_UNIVERSE;
  header[k.rtmsg.rtm_type] = k.RTN_UNICAST;
  const type = operation === "delete" ? k.RTM_DELROUTE : k.RTM_NEWROUTE;
  const flags = operation === "delete" ? 0 : creationFlags(operation);
  batch.build(type, flags, header, (message) => {
    const length = writeAddress(prefixAddress(route.destination), scratch);
    nl.nla_put(message, k.RTA_DST, length, scratchAddress);
    nl.nla_put_u32(message, k.RTA_TABLE, route.table);
    nl.nla_put_u32(message, k.RTA_PRIORITY, route.metric);
    nl.nla_put_u32(message, k.RTA_NH_ID, id);
  });
}

/** Appends a request for the IPv4 routes of all tables. */
export function dumpAllRoutes(batch: MessageBatch): void {
  const header = new Uint8Array(k.rtmsg.size);
  header[k.rtmsg.rtm_family] = k.AF_INET;
  batch.build(k.RTM_GETROUTE, k.NLM_F_DUMP, header);
}

const scratch = fixedBuffer(16);
const scratchAddress: Pointer = addressOf(scratch);
