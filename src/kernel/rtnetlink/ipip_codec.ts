/** IPv4-in-IPv4 tunnels, bare or inside UDP (linux/if_tunnel.h, IFLA_IPTUN_*). */

import * as k from "../../../ffi/linux.ts";
import { addressBytes, IPV4_UNSPECIFIED } from "../../addr/ip.ts";
import type { IpipLink } from "../../state/resource.ts";
import { addressText } from "../wire/attribute_values.ts";
import { AttributeWriter } from "../wire/attribute_writer.ts";
import { allocated } from "../wire/message_batch.ts";
import type { Attributes } from "../wire/message_reader.ts";
import { type LinkCodec, missingModule } from "./link_codec.ts";
import { createLink } from "./link_messages.ts";

export const IPIP_CODEC: LinkCodec<IpipLink> = {
  linkKind: "ipip",

  decode(base, data) {
    if (data === undefined || !hasAnyRemote(data)) return undefined;
    const local = addressText(data.bytes(k.IFLA_IPTUN_LOCAL)) ?? IPV4_UNSPECIFIED;
    const isFou = data.u16(k.IFLA_IPTUN_ENCAP_TYPE) === k.TUNNEL_ENCAP_FOU;
    const fouPort = isFou ? data.be16(k.IFLA_IPTUN_ENCAP_DPORT) : undefined;
    return { ...base, type: "ipip", local, ...(fouPort === undefined ? {} : { fouPort }) };
  },

  creation: {
    /** The outer header gets the TTL and the "don't fragment" flag of the inner one. */
    append(batch, ipip) {
      const { nl } = batch;
      createLink(batch, ipip, {
        object: allocated(nl.rtnl_link_alloc()),
        // libnl cannot express FOU.
        addAttributes: (message) => writeInfo(new AttributeWriter(nl, message), ipip),
      });
    },

    /** The kernel refuses a second tunnel with the same ends (ip_tunnel_newlink). */
    hint(_link, { errno, extack }) {
      if (errno === "EEXIST") {
        return extack ??
          "there is a device of this name, or another tunnel from this address to any remote";
      }
      return errno === "EOPNOTSUPP" ? missingModule("ipip") : undefined;
    },
  },
};

/**
 * Whether routes decide where a tunnel sends, and it encapsulates as ours do. A tunnel between two
 * fixed ends, with different ports, or with external control of its destinations is not ours.
 */
function hasAnyRemote(data: Attributes): boolean {
  const remote = addressText(data.bytes(k.IFLA_IPTUN_REMOTE)) ?? IPV4_UNSPECIFIED;
  const encap = data.u16(k.IFLA_IPTUN_ENCAP_TYPE) ?? k.TUNNEL_ENCAP_NONE;
  const isPlain = encap === k.TUNNEL_ENCAP_NONE || encap === k.TUNNEL_ENCAP_FOU &&
      data.be16(k.IFLA_IPTUN_ENCAP_SPORT) === data.be16(k.IFLA_IPTUN_ENCAP_DPORT);
  return remote === IPV4_UNSPECIFIED && isPlain && !data.has(k.IFLA_IPTUN_COLLECT_METADATA);
}

function writeInfo(message: AttributeWriter, { local, fouPort }: IpipLink): void {
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
