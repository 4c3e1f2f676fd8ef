/** The codecs of all types of devices that this program uses. A new type is one more line here. */

import * as k from "../../../ffi/linux.ts";
import { cString } from "../../../ffi/memory.ts";
import type { Link, LinkType, TunLink, WireguardLink } from "../../state/resource.ts";
import { allocated } from "../wire/message_batch.ts";
import { IPIP_CODEC } from "./ipip_codec.ts";
import type { LinkCodec } from "./link_codec.ts";
import { createLink } from "./link_messages.ts";
import { VXLAN_CODEC } from "./vxlan_codec.ts";

/** Keys, ports and peers belong to WireGuard's own table. */
const WIREGUARD_LINK_CODEC: LinkCodec<WireguardLink> = {
  linkKind: "wireguard",
  decode: (base) => ({ ...base, type: "wireguard", implementation: "kernel" }),
  creation: {
    append(batch, link) {
      const { nl } = batch;
      createLink(batch, link, {
        object: allocated(nl.rtnl_link_alloc()),
        configure: (object) => void nl.rtnl_link_set_type(object, cString("wireguard")),
      });
    },
    /** The port was set while the device was down; its number is not known here. */
    hint(link, { errno }) {
      if (errno !== "EADDRINUSE") return undefined;
      const option = link.name.endsWith("-v6") ? "ListenPortV6" : "ListenPort";
      return `its UDP port is in use ("ss -ulnp" shows by what); set ${option} in the Backend ` +
        "object to a port that is free on every node";
    },
  },
};

/**
 * A device of IP packets without a header, created by the TUN driver. It need not be persistent:
 * ours is not yet when the kernel announces it.
 */
const TUN_LINK_CODEC: LinkCodec<TunLink> = {
  linkKind: "tun",
  decode(base, data) {
    const isSet = (type: number) => (data?.u8(type) ?? 0) !== 0;
    const isPlain = data?.u8(k.IFLA_TUN_TYPE) === k.IFF_TUN &&
      ![k.IFLA_TUN_PI, k.IFLA_TUN_VNET_HDR, k.IFLA_TUN_MULTI_QUEUE].some(isSet);
    return isPlain ? { ...base, type: "tun" } : undefined;
  },
};

export const LINK_CODECS: Readonly<Record<Exclude<LinkType, "other">, LinkCodec>> = {
  vxlan: VXLAN_CODEC,
  wireguard: WIREGUARD_LINK_CODEC,
  ipip: IPIP_CODEC,
  tun: TUN_LINK_CODEC,
};

/** The codec for this IFLA_INFO_KIND. */
export function linkCodecOfKind(linkKind: string): LinkCodec | undefined {
  return BY_KIND.get(linkKind);
}

/** `undefined` for a device of a type that this program does not use. */
export function linkCodecOf(link: Link): LinkCodec | undefined {
  return link.type === "other" ? undefined : LINK_CODECS[link.type];
}

const BY_KIND = new Map(Object.values(LINK_CODECS).map((type) => [type.linkKind, type]));
