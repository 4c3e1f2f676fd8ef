/**
 * Permanent neighbour entries, and permanent forwarding entries of vxlan devices: one table of
 * rtnetlink, whose messages differ in the address family (linux/neighbour.h).
 */

import * as k from "../../../ffi/linux.ts";
import type { Pointer } from "../../../ffi/memory.ts";
import { type Family, familyOf } from "../../addr/ip.ts";
import { type FdbEntry, type Neighbour, NO_MAC } from "../../state/resource.ts";
import { creationFlags, type EntryOperation } from "../table/entry_operation.ts";
import { addressText, macText } from "../wire/attribute_values.ts";
import { allocated } from "../wire/message_batch.ts";
import { Attributes } from "../wire/message_reader.ts";
import { writeFilter } from "./dump_filter.ts";
import type { EntryCodec, EntryEncoder, RtnetlinkBatch } from "./entry_codec.ts";

export const NEIGHBOUR_CODEC: EntryCodec<Neighbour | FdbEntry> = {
  kinds: ["neighbour", "fdb"],
  newType: k.RTM_NEWNEIGH,
  deleteType: k.RTM_DELNEIGH,
  groups: [k.RTNLGRP_NEIGH],
  absentErrnos: new Set(["ENOENT", "ENODEV"]),
  dumpFamilies: [0],
  isDumpedByDevice: true,

  /**
   * An AF_BRIDGE entry counts if it names a remote host, as only entries of a vxlan device do. An
   * entry without a MAC address (it is about to be removed) gets the zero address.
   */
  decode(message, names) {
    const { view, start, end } = message;
    if (end - start < k.ndmsg.size) return undefined;
    const link = names.get(view.getInt32(start + k.ndmsg.ndm_ifindex, true));
    attributes.read(message, start + k.ndmsg.size, end);
    const address = addressText(attributes.bytes(k.NDA_DST));
    if (link === undefined || address === undefined) return undefined;
    const mac = macText(attributes.bytes(k.NDA_LLADDR)) ?? NO_MAC;
    return view.getUint8(start + k.ndmsg.ndm_family) === k.AF_BRIDGE
      ? { kind: "fdb", link, mac, remote: address }
      : { kind: "neighbour", link, address, mac };
  },

  /** An entry that is no longer permanent counts as deleted. */
  isIgnored: ({ view, start, end }) =>
    end - start < k.ndmsg.size ||
    (view.getUint16(start + k.ndmsg.ndm_state, true) & k.NUD_PERMANENT) === 0,

  ifindexOf: ({ view, start, end }) =>
    end - start < k.ndmsg.size ? 0 : view.getInt32(start + k.ndmsg.ndm_ifindex, true),

  dump(batch, { kind, ifindex }) {
    const header = new Uint8Array(k.ndmsg.size);
    header[k.ndmsg.ndm_family] = kind === "fdb" ? k.AF_BRIDGE : k.AF_UNSPEC;
    batch.build(k.RTM_GETNEIGH, k.NLM_F_DUMP, header, writeFilter(k.NDA_IFINDEX, ifindex));
  },

  encoder: (batch) => new NeighbourEncoder(batch),
};

class NeighbourEncoder implements EntryEncoder<Neighbour | FdbEntry> {
  readonly #batch: RtnetlinkBatch;
  readonly #templates = new Map<string, Template>();

  constructor(batch: RtnetlinkBatch) {
    this.#batch = batch;
  }

  append(operation: EntryOperation, entry: Neighbour | FdbEntry, ifindex: number): void {
    const batch = this.#batch;
    const { nl } = batch;
    const address = entry.kind === "fdb" ? entry.remote : entry.address;
    const { object, destination, mac } = this.#template(entry.kind, familyOf(address), ifindex);
    batch.assignAddress(destination, address);
    batch.assignMac(mac, entry.mac);
    batch.append(
      operation === "delete"
        ? nl.rtnl_neigh_build_delete_request(object, 0, batch.out)
        : nl.rtnl_neigh_build_add_request(object, creationFlags(operation), batch.out),
    );
  }

  [Symbol.dispose](): void {
    for (const template of this.#templates.values()) template.free();
    this.#templates.clear();
  }

  #template(kind: "neighbour" | "fdb", family: Family, ifindex: number): Template {
    const key = `${kind} ${family}`;
    let template = this.#templates.get(key);
    if (template?.ifindex === ifindex) return template;
    template?.free();
    const batch = this.#batch;
    const { nl } = batch;
    const object = allocated(nl.rtnl_neigh_alloc());
    const destination = batch.newAddress(family);
    const mac = batch.newMac();
    nl.rtnl_neigh_set_ifindex(object, ifindex);
    nl.rtnl_neigh_set_state(object, k.NUD_PERMANENT);
    nl.rtnl_neigh_set_dst(object, destination);
    nl.rtnl_neigh_set_lladdr(object, mac);
    if (kind === "fdb") {
      // After the destination: libnl refuses an address whose family is not the entry's.
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
}

/** libnl's objects for the entries of one kind and family on one device. */
interface Template {
  readonly ifindex: number;
  readonly object: Pointer;
  readonly destination: Pointer;
  readonly mac: Pointer;
  free(): void;
}

const attributes = new Attributes();
