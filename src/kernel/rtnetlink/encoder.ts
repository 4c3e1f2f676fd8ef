/**
 * From steps to rtnetlink messages, built by libnl and gathered in one buffer for one send(2).
 *
 * libnl's objects are made once for entries that differ only in their addresses: the next message
 * puts other bytes into the same addresses.
 */

import { type Libnl, libnl, RTNL_LINK_VXLAN_F_GBP } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import { addressOf, cString, fixedBuffer, type Pointer, readPointer } from "../../../ffi/memory.ts";
import { addressBytes, type Family, familyOf, type IpAddress } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";
import { prefixAddress, prefixLength } from "../../addr/prefix.ts";
import {
  type Address,
  type FdbEntry,
  type IpipLink,
  type Link,
  type Neighbour,
  NO_MAC,
  type Route,
  type VxlanLink,
  type WireguardLink,
} from "../../state/resource.ts";
import { writeAddress, writeMac } from "../wire/address_bytes.ts";
import { addressFamily, addressLength } from "../wire/address_family.ts";
import { AttributeWriter } from "../wire/attribute_writer.ts";
import { allocated, MessageBatch } from "../wire/message_batch.ts";
import { type EntryOperation, makingFlags } from "../table/entry_operation.ts";

/** An entry that lies on a device, or a blackhole route: what `entry` takes. */
export type EncodedEntry = Address | Neighbour | FdbEntry | Route;

/** Messages for one send(2), and libnl's objects to build them with. */
export class Encoder extends MessageBatch implements Disposable {
  readonly #nl: Libnl = libnl();
  readonly #out = fixedBuffer(8);
  readonly #outAddress: Pointer = addressOf(this.#out);
  readonly #scratch = fixedBuffer(16);
  readonly #scratchAddress: Pointer = addressOf(this.#scratch);
  readonly #templates = new Map<string, Template>();
  #routeTemplates: Record<Family, RouteTemplate | undefined> = { 4: undefined, 6: undefined };

  /** Appends the message for one entry on the device `ifindex` (0 for a blackhole). */
  entry(operation: EntryOperation, entry: EncodedEntry, ifindex: number): void {
    switch (entry.kind) {
      case "address":
        return this.#addressMessage(operation, entry, ifindex);
      case "neighbour":
      case "fdb":
        return this.#neighbourMessage(operation, entry, ifindex);
      case "route":
        return this.#routeMessage(operation, entry, ifindex);
    }
  }

  /** Appends the creation of a vxlan device; it must not exist (RTM_NEWLINK). */
  createVxlan(vxlan: VxlanLink, underlayIndex: number): void {
    const nl = this.#nl;
    this.#createLink(allocated(nl.rtnl_link_vxlan_alloc()), vxlan, (link) => {
      nl.rtnl_link_vxlan_set_id(link, vxlan.vni);
      nl.rtnl_link_vxlan_set_link(link, underlayIndex);
      this.#withAddress(vxlan.local, (local) => nl.rtnl_link_vxlan_set_local(link, local));
      // Without a port the kernel takes its old default, 8472, instead of the standard's 4789.
      if (vxlan.port !== 0) nl.rtnl_link_vxlan_set_port(link, vxlan.port);
      nl.rtnl_link_vxlan_set_learning(link, vxlan.learning ? 1 : 0);
      if (vxlan.gbp) nl.rtnl_link_vxlan_set_flags(link, RTNL_LINK_VXLAN_F_GBP, 1);
    });
  }

  /** Appends the creation of a WireGuard device; it must not exist (RTM_NEWLINK). */
  createWireguard(wireguard: WireguardLink): void {
    this.#createLink(allocated(this.#nl.rtnl_link_alloc()), wireguard, (link) => {
      this.#nl.rtnl_link_set_type(link, cString("wireguard"));
    });
  }

  /**
   * Appends the creation of an IPv4-in-IPv4 tunnel to any remote; it must not exist (RTM_NEWLINK).
   * The outer header has the TTL and the "don't fragment" flag of the inner one.
   */
  createIpip(ipip: IpipLink): void {
    const nl = this.#nl;
    // libnl does not know how to say FOU.
    const addInfo = (message: Pointer) => writeIpipInfo(new AttributeWriter(nl, message), ipip);
    this.#createLink(allocated(nl.rtnl_link_alloc()), ipip, () => {}, addInfo);
  }

  /** Appends the change of a device's MTU, MAC and state, as far as they differ (RTM_SETLINK). */
  changeLink(ifindex: number, from: Link, to: Link): void {
    const nl = this.#nl;
    const original = allocated(nl.rtnl_link_alloc());
    const changes = allocated(nl.rtnl_link_alloc());
    try {
      nl.rtnl_link_set_ifindex(original, ifindex);
      this.#setLinkAttributes(changes, to, from);
      this.#append(nl.rtnl_link_build_change_request(original, changes, 0, this.#outAddress));
    } finally {
      nl.rtnl_link_put(original);
      nl.rtnl_link_put(changes);
    }
  }

  /** Appends RTM_DELLINK. */
  deleteLink(ifindex: number): void {
    const link = allocated(this.#nl.rtnl_link_alloc());
    try {
      this.#nl.rtnl_link_set_ifindex(link, ifindex);
      this.#append(this.#nl.rtnl_link_build_delete_request(link, this.#outAddress));
    } finally {
      this.#nl.rtnl_link_put(link);
    }
  }

  /** Appends RTM_GETLINK for one device, by name or by index. */
  getLink(which: string | number): void {
    const [ifindex, name] = typeof which === "number" ? [which, null] : [0, cString(which)];
    this.#append(this.#nl.rtnl_link_build_get_request(ifindex, name, this.#outAddress));
  }

  /** Appends RTM_GETROUTE for one destination: `ip route get`. */
  getRoute(destination: IpAddress): void {
    const family = familyOf(destination);
    const header = new Uint8Array(k.rtmsg.size);
    header[k.rtmsg.rtm_family] = addressFamily(family);
    header[k.rtmsg.rtm_dst_len] = addressLength(family) * 8;
    const length = writeAddress(destination, this.#scratch);
    this.build(k.RTM_GETROUTE, 0, header, (message) => {
      this.#nl.nla_put(message, k.RTA_DST, length, this.#scratchAddress);
    });
  }

  /**
   * Appends a request for a whole table, filtered by what the kernel can filter by since strict
   * checking exists (Linux 4.20): the device, and for routes the main table.
   */
  dump(kind: DumpKind, family: Family | 0, ifindex: number): void {
    const afFamily = family === 0 ? k.AF_UNSPEC : addressFamily(family);
    const filter = (attribute: number, value: number) => (message: Pointer) => {
      if (value !== 0) this.#nl.nla_put_u32(message, attribute, value);
    };
    const header = new Uint8Array(DUMP_HEADER_BYTES[kind]);
    header[0] = kind === "fdb" ? k.AF_BRIDGE : afFamily;
    switch (kind) {
      case "link":
        return this.build(
          k.RTM_GETLINK,
          k.NLM_F_DUMP,
          header,
          filter(k.IFLA_EXT_MASK, k.RTEXT_FILTER_SKIP_STATS),
        );
      case "address":
        new DataView(header.buffer).setUint32(k.ifaddrmsg.ifa_index, ifindex, true);
        return this.build(k.RTM_GETADDR, k.NLM_F_DUMP, header);
      case "neighbour":
      case "fdb":
        return this.build(k.RTM_GETNEIGH, k.NLM_F_DUMP, header, filter(k.NDA_IFINDEX, ifindex));
      case "route":
        return this.build(
          k.RTM_GETROUTE,
          k.NLM_F_DUMP,
          header,
          filter(k.RTA_TABLE, k.RT_TABLE_MAIN),
        );
    }
  }

  [Symbol.dispose](): void {
    for (const template of this.#templates.values()) template.free();
    this.#templates.clear();
    for (const template of Object.values(this.#routeTemplates)) template?.free();
    this.#routeTemplates = { 4: undefined, 6: undefined };
  }

  /**
   * Frees libnl's `object` in the end. `configure` completes it, `attributes` the message that libnl
   * makes of it.
   */
  #createLink(
    object: Pointer,
    link: Link,
    configure: (object: Pointer) => void,
    attributes?: (message: Pointer) => void,
  ): void {
    const nl = this.#nl;
    try {
      this.#setLinkAttributes(object, link);
      nl.rtnl_link_set_name(object, cString(link.name));
      configure(object);
      const flags = k.NLM_F_CREATE | k.NLM_F_EXCL;
      this.#append(nl.rtnl_link_build_add_request(object, flags, this.#outAddress), attributes);
    } finally {
      nl.rtnl_link_put(object);
    }
  }

  #setLinkAttributes(link: Pointer, to: Link, from?: Link): void {
    const nl = this.#nl;
    if (to.mtuBytes !== from?.mtuBytes) nl.rtnl_link_set_mtu(link, to.mtuBytes);
    if (to.mac !== (from?.mac ?? NO_MAC)) {
      const mac = this.#newMac();
      this.#assignMac(mac, to.mac);
      nl.rtnl_link_set_addr(link, mac);
      nl.nl_addr_put(mac);
    }
    if (to.up === from?.up) return;
    if (to.up) nl.rtnl_link_set_flags(link, k.IFF_UP);
    else nl.rtnl_link_unset_flags(link, k.IFF_UP);
  }

  #addressMessage(operation: EntryOperation, entry: Address, ifindex: number): void {
    const nl = this.#nl;
    const address = allocated(nl.rtnl_addr_alloc());
    try {
      nl.rtnl_addr_set_ifindex(address, ifindex);
      this.#withAddress(entry.address, (local) => {
        nl.nl_addr_set_prefixlen(local, entry.prefixLength);
        return nl.rtnl_addr_set_local(address, local);
      });
      // An overlay device passes no multicast on, so duplicate detection (RFC 4862) could only
      // delay the address's first use; the lease already makes it unique.
      if (familyOf(entry.address) === 6) nl.rtnl_addr_set_flags(address, k.IFA_F_NODAD);
      this.#append(
        operation === "delete"
          ? nl.rtnl_addr_build_delete_request(address, 0, this.#outAddress)
          : nl.rtnl_addr_build_add_request(address, makingFlags(operation), this.#outAddress),
      );
    } finally {
      nl.rtnl_addr_put(address);
    }
  }

  #neighbourMessage(operation: EntryOperation, entry: Neighbour | FdbEntry, ifindex: number): void {
    const nl = this.#nl;
    const address = entry.kind === "fdb" ? entry.remote : entry.address;
    const template = this.#neighbourTemplate(entry.kind, familyOf(address), ifindex);
    this.#assignAddress(template.destination, address);
    this.#assignMac(template.mac, entry.mac);
    this.#append(
      operation === "delete"
        ? nl.rtnl_neigh_build_delete_request(template.object, 0, this.#outAddress)
        : nl.rtnl_neigh_build_add_request(
          template.object,
          makingFlags(operation),
          this.#outAddress,
        ),
    );
  }

  #neighbourTemplate(kind: "neighbour" | "fdb", family: Family, ifindex: number): Template {
    const key = `${kind} ${family}`;
    let template = this.#templates.get(key);
    if (template?.ifindex === ifindex) return template;
    template?.free();
    const nl = this.#nl;
    const object = allocated(nl.rtnl_neigh_alloc());
    const destination = this.#newAddress(family);
    const mac = this.#newMac();
    nl.rtnl_neigh_set_ifindex(object, ifindex);
    nl.rtnl_neigh_set_state(object, k.NUD_PERMANENT);
    nl.rtnl_neigh_set_dst(object, destination);
    nl.rtnl_neigh_set_lladdr(object, mac);
    if (kind === "fdb") {
      // After the destination: libnl refuses one of another family than the entry's.
      nl.rtnl_neigh_set_family(object, k.AF_BRIDGE);
      nl.rtnl_neigh_set_flags(object, k.NTF_SELF);
    }
    const free = () => {
      nl.rtnl_neigh_put(object);
      nl.nl_addr_put(destination);
      nl.nl_addr_put(mac);
    };
    template = { ifindex, object, destination, mac, free };
    this.#templates.set(key, template);
    return template;
  }

  #routeMessage(operation: EntryOperation, route: Route, ifindex: number): void {
    const nl = this.#nl;
    const template = this.#routeTemplate(route, ifindex);
    this.#assignAddress(template.destination, prefixAddress(route.destination));
    nl.nl_addr_set_prefixlen(template.destination, prefixLength(route.destination));
    if (route.gateway !== undefined) this.#assignAddress(template.gateway, route.gateway);
    this.#append(
      operation === "delete"
        ? nl.rtnl_route_build_del_request(template.object, 0, this.#outAddress)
        : nl.rtnl_route_build_add_request(
          template.object,
          makingFlags(operation),
          this.#outAddress,
        ),
    );
  }

  #routeTemplate(route: Route, ifindex: number): RouteTemplate {
    const family = familyOf(route.destination);
    const current = this.#routeTemplates[family];
    if (current?.ifindex === ifindex && sameShape(current.route, route)) return current;
    current?.free();
    const nl = this.#nl;
    const object = allocated(nl.rtnl_route_alloc());
    const destination = this.#newAddress(family);
    const gateway = this.#newAddress(familyOf(route.gateway ?? route.destination));
    nl.rtnl_route_set_family(object, addressFamily(family));
    nl.rtnl_route_set_type(object, route.type === "unicast" ? k.RTN_UNICAST : k.RTN_BLACKHOLE);
    nl.rtnl_route_set_table(object, route.table);
    nl.rtnl_route_set_scope(
      object,
      route.scope === "link" ? k.RT_SCOPE_LINK : k.RT_SCOPE_UNIVERSE,
    );
    nl.rtnl_route_set_protocol(object, route.protocol);
    nl.rtnl_route_set_priority(object, route.metric);
    if (route.onlink) nl.rtnl_route_set_flags(object, k.RTNH_F_ONLINK);
    nl.rtnl_route_set_dst(object, destination);
    if (route.source !== undefined) {
      this.#withAddress(route.source, (source) => nl.rtnl_route_set_pref_src(object, source));
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
    this.#routeTemplates[family] = template;
    return template;
  }

  /** Takes the message that a libnl function left at `#out`, if its result says so. */
  #append(result: number, attributes?: (message: Pointer) => void): void {
    if (result < 0) {
      throw new Error(`libnl cannot build a message: ${this.#nl.nl_geterror(result)}`);
    }
    const message = readPointer(this.#outAddress);
    attributes?.(message);
    this.take(message);
  }

  #newAddress(family: Family): Pointer {
    this.#scratch.fill(0);
    return allocated(
      this.#nl.nl_addr_build(addressFamily(family), this.#scratchAddress, addressLength(family)),
    );
  }

  #newMac(): Pointer {
    return allocated(this.#nl.nl_addr_build(k.AF_UNSPEC, this.#scratchAddress, MAC_BYTES));
  }

  #assignAddress(target: Pointer, address: IpAddress): void {
    const length = writeAddress(address, this.#scratch);
    if (this.#nl.nl_addr_set_binary_addr(target, this.#scratchAddress, length) < 0) {
      throw new RangeError(`${address} is of another family than its entry`);
    }
  }

  #assignMac(target: Pointer, mac: MacAddress): void {
    writeMac(mac, this.#scratch);
    this.#nl.nl_addr_set_binary_addr(target, this.#scratchAddress, MAC_BYTES);
  }

  /** Lends `use` a libnl address; the object it is given to takes its own reference. */
  #withAddress(address: IpAddress, use: (address: Pointer) => number): void {
    const pointer = this.#newAddress(familyOf(address));
    this.#assignAddress(pointer, address);
    const result = use(pointer);
    this.#nl.nl_addr_put(pointer);
    if (result < 0) throw new Error(`libnl refuses ${address}: ${this.#nl.nl_geterror(result)}`);
  }
}

/** Tables that can be read as a whole. */
export type DumpKind = "link" | "address" | "neighbour" | "fdb" | "route";

interface Template {
  readonly ifindex: number;
  readonly object: Pointer;
  readonly destination: Pointer;
  readonly mac: Pointer;
  free(): void;
}

interface RouteTemplate {
  readonly ifindex: number;
  readonly object: Pointer;
  readonly destination: Pointer;
  readonly gateway: Pointer;
  /** What the object was made from. */
  readonly route: Route;
  free(): void;
}

const MAC_BYTES = 6;
const DUMP_HEADER_BYTES: Record<DumpKind, number> = {
  link: k.ifinfomsg.size,
  address: k.ifaddrmsg.size,
  neighbour: k.ndmsg.size,
  fdb: k.ndmsg.size,
  route: k.rtmsg.size,
};

/** IFLA_LINKINFO of a tunnel to any remote. */
function writeIpipInfo(message: AttributeWriter, { local, fouPort }: IpipLink): void {
  message.nested(k.IFLA_LINKINFO, (info) => {
    info.text(k.IFLA_INFO_KIND, "ipip");
    info.nested(k.IFLA_INFO_DATA, (data) => {
      data.bytes(k.IFLA_IPTUN_LOCAL, addressBytes(local));
      data.u8(k.IFLA_IPTUN_TTL, 0);
      data.u8(k.IFLA_IPTUN_PMTUDISC, 0);
      if (fouPort === undefined) return;
      data.u16(k.IFLA_IPTUN_ENCAP_TYPE, k.TUNNEL_ENCAP_FOU);
      data.u16(k.IFLA_IPTUN_ENCAP_FLAGS, 0);
      data.be16(k.IFLA_IPTUN_ENCAP_SPORT, fouPort);
      data.be16(k.IFLA_IPTUN_ENCAP_DPORT, fouPort);
    });
  });
}

/** Whether two routes of one family differ in nothing but destination and gateway. */
function sameShape(a: Route, b: Route): boolean {
  return a.type === b.type && a.onlink === b.onlink && a.source === b.source &&
    a.scope === b.scope && a.metric === b.metric && a.protocol === b.protocol &&
    a.table === b.table && gatewayFamily(a) === gatewayFamily(b);
}

function gatewayFamily(route: Route): Family | 0 {
  return route.gateway === undefined ? 0 : familyOf(route.gateway);
}
