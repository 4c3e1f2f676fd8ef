/**
 * Unicast and blackhole routes of the main table (rtnetlink(7), linux/rtnetlink.h). Cached routes
 * and routes for one type of service are left out: ours never have the same key.
 */

import * as k from "../../../ffi/linux.ts";
import type { Pointer } from "../../../ffi/memory.ts";
import { FAMILIES, type Family, familyOf, type IpAddress } from "../../addr/ip.ts";
import { type Prefix, prefixAddress, prefixFromBytes, prefixLength } from "../../addr/prefix.ts";
import { type Route, RT_TABLE_MAIN } from "../../state/resource.ts";
import { creationFlags, type EntryOperation } from "../table/entry_operation.ts";
import { addressFamily, addressLength, familyFrom } from "../wire/address_family.ts";
import { addressText } from "../wire/attribute_values.ts";
import { allocated } from "../wire/message_batch.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";
import { writeFilter } from "./dump_filter.ts";
import type { EntryCodec, EntryEncoder, RtnetlinkBatch } from "./entry_codec.ts";

export const ROUTE_CODEC: EntryCodec<Route> = {
  kinds: ["route"],
  newType: k.RTM_NEWROUTE,
  deleteType: k.RTM_DELROUTE,
  groups: [k.RTNLGRP_IPV4_ROUTE, k.RTNLGRP_IPV6_ROUTE],
  absentErrnos: new Set(["ESRCH", "ENODEV"]),
  dumpFamilies: FAMILIES,
  isDumpedByDevice: false,

  decode(message, names) {
    const { view, start, end } = message;
    if (end - start < k.rtmsg.size) return undefined;
    const type = view.getUint8(start + k.rtmsg.rtm_type);
    const flags = view.getUint32(start + k.rtmsg.rtm_flags, true);
    const family = familyFrom(view.getUint8(start + k.rtmsg.rtm_family));
    if (type !== k.RTN_UNICAST && type !== k.RTN_BLACKHOLE || family === undefined) {
      return undefined;
    }
    if ((flags & k.RTM_F_CLONED) !== 0 || view.getUint8(start + k.rtmsg.rtm_tos) !== 0) {
      return undefined;
    }
    attributes.read(message, start + k.rtmsg.size, end);
    const table = attributes.u32(k.RTA_TABLE) ?? view.getUint8(start + k.rtmsg.rtm_table);
    const length = view.getUint8(start + k.rtmsg.rtm_dst_len);
    const destination = prefixOf(family, attributes.bytes(k.RTA_DST), length);
    if (table !== RT_TABLE_MAIN || destination === undefined) return undefined;
    const source = addressText(attributes.bytes(k.RTA_PREFSRC));
    const base = {
      kind: "route",
      destination,
      ...(source === undefined ? {} : { source }),
      scope: view.getUint8(start + k.rtmsg.rtm_scope) === k.RT_SCOPE_LINK ? "link" : "universe",
      metric: attributes.u32(k.RTA_PRIORITY) ?? 0,
      protocol: view.getUint8(start + k.rtmsg.rtm_protocol),
      table,
    } as const;
    // IPv6 gives a blackhole the loopback device.
    if (type === k.RTN_BLACKHOLE) return { ...base, type: "blackhole", onlink: false };
    const hop = firstHop(message, flags);
    const link = hop && names.get(hop.ifindex);
    if (hop === undefined || link === undefined) return undefined;
    return {
      ...base,
      type: "unicast",
      link,
      onlink: hop.onlink,
      ...(hop.gateway === undefined ? {} : { gateway: hop.gateway }),
      ...(hop.isOneOfMany ? { multipath: true } : {}),
    };
  },

  isIgnored: () => false,

  ifindexOf(message) {
    const { start, end } = message;
    if (end - start < k.rtmsg.size) return 0;
    return attributes.read(message, start + k.rtmsg.size, end).u32(k.RTA_OIF) ?? 0;
  },

  dump(batch, { family }) {
    const header = new Uint8Array(k.rtmsg.size);
    header[k.rtmsg.rtm_family] = family === 0 ? k.AF_UNSPEC : addressFamily(family);
    batch.build(k.RTM_GETROUTE, k.NLM_F_DUMP, header, writeFilter(k.RTA_TABLE, RT_TABLE_MAIN));
  },

  encoder: (batch) => new RouteEncoder(batch),
};

/** RTA_GATEWAY, or RTA_VIA: a gateway of the other family, after its 16-bit address family. */
export function gatewayOf(attributes: Attributes): IpAddress | undefined {
  return addressText(attributes.bytes(k.RTA_GATEWAY) ?? attributes.bytes(k.RTA_VIA)?.subarray(2));
}

class RouteEncoder implements EntryEncoder<Route> {
  readonly #batch: RtnetlinkBatch;
  #templates: Record<Family, Template | undefined> = { 4: undefined, 6: undefined };

  constructor(batch: RtnetlinkBatch) {
    this.#batch = batch;
  }

  append(operation: EntryOperation, route: Route, ifindex: number): void {
    const batch = this.#batch;
    const { nl } = batch;
    const { object, destination, gateway } = this.#template(route, ifindex);
    batch.assignAddress(destination, prefixAddress(route.destination));
    nl.nl_addr_set_prefixlen(destination, prefixLength(route.destination));
    if (route.gateway !== undefined) batch.assignAddress(gateway, route.gateway);
    batch.append(
      operation === "delete"
        ? nl.rtnl_route_build_del_request(object, 0, batch.out)
        : nl.rtnl_route_build_add_request(object, creationFlags(operation), batch.out),
    );
  }

  [Symbol.dispose](): void {
    for (const template of Object.values(this.#templates)) template?.free();
    this.#templates = { 4: undefined, 6: undefined };
  }

  #template(route: Route, ifindex: number): Template {
    const family = familyOf(route.destination);
    const current = this.#templates[family];
    if (current?.ifindex === ifindex && sameShape(current.route, route)) return current;
    current?.free();
    const batch = this.#batch;
    const { nl } = batch;
    const object = allocated(nl.rtnl_route_alloc());
    const destination = batch.newAddress(family);
    const gateway = batch.newAddress(familyOf(route.gateway ?? route.destination));
    const scope = route.scope === "link" ? k.RT_SCOPE_LINK : k.RT_SCOPE_UNIVERSE;
    nl.rtnl_route_set_family(object, addressFamily(family));
    nl.rtnl_route_set_type(object, route.type === "unicast" ? k.RTN_UNICAST : k.RTN_BLACKHOLE);
    nl.rtnl_route_set_table(object, route.table);
    nl.rtnl_route_set_scope(object, scope);
    nl.rtnl_route_set_protocol(object, route.protocol);
    nl.rtnl_route_set_priority(object, route.metric);
    if (route.onlink) nl.rtnl_route_set_flags(object, k.RTNH_F_ONLINK);
    nl.rtnl_route_set_dst(object, destination);
    if (route.source !== undefined) {
      batch.withAddress(route.source, (source) => nl.rtnl_route_set_pref_src(object, source));
    }
    if (route.type === "unicast") {
      const hop = allocated(nl.rtnl_route_nh_alloc());
      nl.rtnl_route_nh_set_ifindex(hop, ifindex);
      if (route.gateway !== undefined) nl.rtnl_route_nh_set_gateway(hop, gateway);
      nl.rtnl_route_add_nexthop(object, hop); // the route owns it now
    }
    const free = () => {
      nl.rtnl_route_put(object);
      nl.nl_addr_put(destination);
      nl.nl_addr_put(gateway);
    };
    const template = { ifindex, object, destination, gateway, route, free };
    this.#templates[family] = template;
    return template;
  }
}

/** libnl's objects for routes of one family that differ only in destination and gateway. */
interface Template {
  readonly ifindex: number;
  readonly object: Pointer;
  readonly destination: Pointer;
  readonly gateway: Pointer;
  /** The route that the object was made for. */
  readonly route: Route;
  free(): void;
}

function sameShape(a: Route, b: Route): boolean {
  return a.type === b.type && a.onlink === b.onlink && a.source === b.source &&
    a.scope === b.scope && a.metric === b.metric && a.protocol === b.protocol &&
    a.table === b.table && gatewayFamily(a) === gatewayFamily(b);
}

function gatewayFamily(route: Route): Family | 0 {
  return route.gateway === undefined ? 0 : familyOf(route.gateway);
}

// Attribute indexes, reused for every message.
const attributes = new Attributes();
const hopAttributes = new Attributes();

interface Hop {
  readonly ifindex: number;
  readonly gateway: IpAddress | undefined;
  readonly onlink: boolean;
  readonly isOneOfMany: boolean;
}

/** The first next hop of the route whose attributes have been read. */
function firstHop(message: MessageReader, flags: number): Hop | undefined {
  const { view, bytes } = message;
  const ifindex = attributes.u32(k.RTA_OIF);
  if (ifindex !== undefined) {
    const onlink = (flags & k.RTNH_F_ONLINK) !== 0;
    return { ifindex, gateway: gatewayOf(attributes), onlink, isOneOfMany: false };
  }
  const hops = attributes.bytes(k.RTA_MULTIPATH);
  if (hops === undefined || hops.length < k.rtnexthop.size) return undefined;
  const at = hops.byteOffset - bytes.byteOffset;
  const length = view.getUint16(at + k.rtnexthop.rtnh_len, true);
  if (length < k.rtnexthop.size || length > hops.length) return undefined;
  return {
    ifindex: view.getInt32(at + k.rtnexthop.rtnh_ifindex, true),
    gateway: gatewayOf(hopAttributes.read(message, at + k.rtnexthop.size, at + length)),
    onlink: (view.getUint8(at + k.rtnexthop.rtnh_flags) & k.RTNH_F_ONLINK) !== 0,
    isOneOfMany: true,
  };
}

function prefixOf(
  family: Family,
  bytes: Uint8Array | undefined,
  length: number,
): Prefix | undefined {
  const size = addressLength(family);
  if (length > size * 8) return undefined;
  if (bytes === undefined) {
    return length === 0 ? (family === 4 ? "0.0.0.0/0" : "::/0") as Prefix : undefined;
  }
  return bytes.length === size ? prefixFromBytes(bytes, length) : undefined;
}
