/** Vxlan devices (linux/if_link.h, IFLA_VXLAN_*). */

import { RTNL_LINK_VXLAN_F_GBP } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import type { Pointer } from "../../../ffi/memory.ts";
import { IPV4_UNSPECIFIED } from "../../addr/ip.ts";
import { udpPortTaken } from "../../process/udp_port.ts";
import { type Link, VXLAN_DEFAULT_PORT, type VxlanLink } from "../../state/resource.ts";
import { addressText } from "../wire/attribute_values.ts";
import { allocated } from "../wire/message_batch.ts";
import { type LinkCodec, missingModule } from "./link_codec.ts";
import { createLink } from "./link_messages.ts";

export const VXLAN_CODEC: LinkCodec<VxlanLink> = {
  linkKind: "vxlan",

  /** The message has only the underlay's index: `completeLink` adds its name. */
  decode: (base, data) =>
    data && {
      ...base,
      type: "vxlan",
      vni: data.u32(k.IFLA_VXLAN_ID) ?? 0,
      local: addressText(data.bytes(k.IFLA_VXLAN_LOCAL) ?? data.bytes(k.IFLA_VXLAN_LOCAL6)) ??
        IPV4_UNSPECIFIED,
      underlay: "",
      port: data.be16(k.IFLA_VXLAN_PORT) ?? 0,
      learning: (data.u8(k.IFLA_VXLAN_LEARNING) ?? 0) !== 0,
      gbp: data.has(k.IFLA_VXLAN_GBP),
    },

  creation: {
    underlayOf: ({ underlay }) => underlay,

    append(batch, vxlan, underlayIndex) {
      const { nl } = batch;
      const configure = (object: Pointer) => {
        nl.rtnl_link_vxlan_set_id(object, vxlan.vni);
        nl.rtnl_link_vxlan_set_link(object, underlayIndex);
        batch.withAddress(vxlan.local, (local) => nl.rtnl_link_vxlan_set_local(object, local));
        // Without a port the kernel uses its old default, 8472, instead of the standard's 4789.
        if (vxlan.port !== 0) nl.rtnl_link_vxlan_set_port(object, vxlan.port);
        nl.rtnl_link_vxlan_set_learning(object, vxlan.learning ? 1 : 0);
        if (vxlan.gbp) nl.rtnl_link_vxlan_set_flags(object, RTNL_LINK_VXLAN_F_GBP, 1);
      };
      createLink(batch, vxlan, { object: allocated(nl.rtnl_link_vxlan_alloc()), configure });
    },

    /**
     * The kernel refuses a second device with the same VNI and port (vxlan_config_validate) and,
     * when the device is set up, a port that is in use (vxlan_open).
     */
    hint(link, { errno }, readLinks) {
      switch (errno) {
        case "EADDRINUSE":
          return portHint(link, samePort(link, readLinks()));
        case "EEXIST":
          return vniHint(link, samePort(link, readLinks()));
        case "EOPNOTSUPP":
          return missingModule("vxlan");
      }
      return undefined;
    },
  },
};

/** Vxlan devices can share a port only if their options are equal, such as `external` or `gbp`. */
function portHint(link: VxlanLink, others: readonly VxlanLink[]): string {
  const taken = udpPortTaken(portOf(link), "Port");
  const conflicting = others.find(({ name, up }) => up && !name.startsWith("flannel"));
  if (taken.startsWith("a program") || conflicting === undefined) return taken;
  const { name } = conflicting;
  return `the device ${name} has UDP port ${portOf(link)} with other options; delete it if it is ` +
    `not needed (ip link del ${name}), or set Port in the Backend object to a port that is free ` +
    "on every node";
}

function vniHint(link: VxlanLink, others: readonly VxlanLink[]): string | undefined {
  const conflicting = others.find(({ vni }) => vni === link.vni);
  if (conflicting === undefined) return undefined;
  const { name } = conflicting;
  return `the device ${name} has VNI ${link.vni} on UDP port ${portOf(link)}; delete it if it is ` +
    `not needed (ip link del ${name}), or set another VNI in the Backend object`;
}

function samePort(link: VxlanLink, others: readonly Link[]): VxlanLink[] {
  return others.filter((other): other is VxlanLink =>
    other.type === "vxlan" && other.name !== link.name && portOf(other) === portOf(link)
  );
}

function portOf({ port }: VxlanLink): number {
  return port || VXLAN_DEFAULT_PORT;
}
