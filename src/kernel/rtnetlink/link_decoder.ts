/** From messages about devices to links (rtnetlink(7), linux/if_link.h). */

import * as k from "../../../ffi/linux.ts";
import { type Link, NO_MAC } from "../../state/resource.ts";
import { macText } from "../wire/attribute_values.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";
import { hasUapiSocket } from "../wireguard/userspace_driver.ts";
import type { LinkNames } from "./entry_codec.ts";
import type { LinkBase } from "./link_codec.ts";
import { linkCodecOfKind } from "./link_codecs.ts";

/** A device as one message describes it; see `completeLink`. */
export interface DecodedLink {
  readonly ifindex: number;
  readonly link: Link;
  /** 0 if there is none. */
  readonly underlayIndex: number;
}

/** RTM_NEWLINK, RTM_DELLINK. A bridge's reports of its ports (AF_BRIDGE) are not links. */
export function decodeLink(message: MessageReader): DecodedLink | undefined {
  const { view, start, end } = message;
  if (end - start < k.ifinfomsg.size) return undefined;
  if (view.getUint8(start + k.ifinfomsg.ifi_family) !== k.AF_UNSPEC) return undefined;
  const ifindex = view.getInt32(start + k.ifinfomsg.ifi_index, true);
  attributes.read(message, start + k.ifinfomsg.size, end);
  const name = attributes.text(k.IFLA_IFNAME);
  if (name === undefined || name === "" || ifindex <= 0) return undefined;
  const base: LinkBase = {
    kind: "link",
    name,
    mtuBytes: attributes.u32(k.IFLA_MTU) ?? 0,
    mac: macText(attributes.bytes(k.IFLA_ADDRESS)) ?? NO_MAC,
    up: (view.getUint32(start + k.ifinfomsg.ifi_flags, true) & k.IFF_UP) !== 0,
  };
  const info = attributes.nested(k.IFLA_LINKINFO, infoAttributes);
  const linkKind = info?.text(k.IFLA_INFO_KIND) ?? "";
  const data = info?.nested(k.IFLA_INFO_DATA, dataAttributes);
  const link = linkCodecOfKind(linkKind)?.decode(base, data) ??
    { ...base, type: "other", linkKind };
  const underlayIndex = link.type === "vxlan" ? data?.u32(k.IFLA_VXLAN_LINK) ?? 0 : 0;
  return { ifindex, link, underlayIndex };
}

/**
 * Adds what the message does not contain: the name of a vxlan device's underlay (empty if that is
 * in another namespace), and whether a TUN device is run by WireGuard in user space.
 */
export function completeLink({ link, underlayIndex }: DecodedLink, names: LinkNames): Link {
  if (link.type === "vxlan") return { ...link, underlay: names.get(underlayIndex) ?? "" };
  const isTun = link.type === "tun" || link.type === "other" && link.linkKind === "tun";
  if (!isTun || !hasUapiSocket(link.name)) return link;
  const { kind, name, mtuBytes, mac, up } = link;
  return { kind, name, mtuBytes, mac, up, type: "wireguard", implementation: "userspace" };
}

// Attribute indexes, reused for every message.
const attributes = new Attributes();
const infoAttributes = new Attributes();
const dataAttributes = new Attributes();
