/** Addresses of devices (rtnetlink(7), linux/if_addr.h). */

import * as k from "../../../ffi/linux.ts";
import { familyOf } from "../../addr/ip.ts";
import type { Address } from "../../state/resource.ts";
import { creationFlags, type EntryOperation } from "../table/entry_operation.ts";
import { addressText } from "../wire/attribute_values.ts";
import { allocated } from "../wire/message_batch.ts";
import { Attributes } from "../wire/message_reader.ts";
import type { EntryCodec, EntryEncoder, RtnetlinkBatch } from "./entry_codec.ts";

export const ADDRESS_CODEC: EntryCodec<Address> = {
  kinds: ["address"],
  newType: k.RTM_NEWADDR,
  deleteType: k.RTM_DELADDR,
  groups: [k.RTNLGRP_IPV4_IFADDR, k.RTNLGRP_IPV6_IFADDR],
  // ENXIO: the device has no IPv6 any more, as when its MTU is below 1280 (inet6_addr_del).
  absentErrnos: new Set(["EADDRNOTAVAIL", "ENODEV", "ENXIO"]),
  dumpFamilies: [0],
  isDumpedByDevice: true,

  decode(message, names) {
    const { view, start, end } = message;
    if (end - start < k.ifaddrmsg.size) return undefined;
    const link = names.get(view.getUint32(start + k.ifaddrmsg.ifa_index, true));
    attributes.read(message, start + k.ifaddrmsg.size, end);
    // IFA_LOCAL is our end of a point-to-point link, where IFA_ADDRESS is the peer's.
    const address = addressText(attributes.bytes(k.IFA_LOCAL) ?? attributes.bytes(k.IFA_ADDRESS));
    if (link === undefined || address === undefined) return undefined;
    const prefixLength = view.getUint8(start + k.ifaddrmsg.ifa_prefixlen);
    return { kind: "address", link, address, prefixLength };
  },

  isIgnored: () => false,

  ifindexOf: ({ view, start, end }) =>
    end - start < k.ifaddrmsg.size ? 0 : view.getUint32(start + k.ifaddrmsg.ifa_index, true),

  dump(batch, { ifindex }) {
    const header = new Uint8Array(k.ifaddrmsg.size);
    new DataView(header.buffer).setUint32(k.ifaddrmsg.ifa_index, ifindex, true);
    batch.build(k.RTM_GETADDR, k.NLM_F_DUMP, header);
  },

  encoder: (batch) => new AddressEncoder(batch),
};

class AddressEncoder implements EntryEncoder<Address> {
  readonly #batch: RtnetlinkBatch;

  constructor(batch: RtnetlinkBatch) {
    this.#batch = batch;
  }

  append(operation: EntryOperation, entry: Address, ifindex: number): void {
    const batch = this.#batch;
    const { nl } = batch;
    const object = allocated(nl.rtnl_addr_alloc());
    try {
      nl.rtnl_addr_set_ifindex(object, ifindex);
      batch.withAddress(entry.address, (local) => {
        nl.nl_addr_set_prefixlen(local, entry.prefixLength);
        return nl.rtnl_addr_set_local(object, local);
      });
      // Overlay devices carry no multicast, so duplicate address detection (RFC 4862) would only
      // delay the first use of the address. The lease guarantees that it is unique.
      if (familyOf(entry.address) === 6) nl.rtnl_addr_set_flags(object, k.IFA_F_NODAD);
      batch.append(
        operation === "delete"
          ? nl.rtnl_addr_build_delete_request(object, 0, batch.out)
          : nl.rtnl_addr_build_add_request(object, creationFlags(operation), batch.out),
      );
    } finally {
      nl.rtnl_addr_put(object);
    }
  }

  [Symbol.dispose](): void {}
}

const attributes = new Attributes();
