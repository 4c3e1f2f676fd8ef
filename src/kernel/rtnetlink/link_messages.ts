/** Messages about devices (RTM_*LINK, rtnetlink(7)). */

import * as k from "../../../ffi/linux.ts";
import { cString, type Pointer } from "../../../ffi/memory.ts";
import { type Link, NO_MAC } from "../../state/resource.ts";
import type { AddAttributes } from "../wire/libnl_batch.ts";
import { allocated, type MessageBatch } from "../wire/message_batch.ts";
import { writeFilter } from "./dump_filter.ts";
import type { RtnetlinkBatch } from "./entry_codec.ts";

export interface LinkObject {
  /** libnl's object (struct rtnl_link); `createLink` frees it. */
  readonly object: Pointer;
  /** Sets the attributes of the device's type. */
  readonly configure?: (object: Pointer) => void;
  /** Adds attributes that libnl cannot express. */
  readonly addAttributes?: AddAttributes;
}

/** Appends the creation of a device; it may not exist yet (RTM_NEWLINK). */
export function createLink(
  batch: RtnetlinkBatch,
  link: Link,
  { object, configure, addAttributes }: LinkObject,
): void {
  const { nl } = batch;
  try {
    setAttributes(batch, object, link);
    nl.rtnl_link_set_name(object, cString(link.name));
    configure?.(object);
    const flags = k.NLM_F_CREATE | k.NLM_F_EXCL;
    batch.append(nl.rtnl_link_build_add_request(object, flags, batch.out), addAttributes);
  } finally {
    nl.rtnl_link_put(object);
  }
}

/** Appends the change of MTU, MAC and state, as far as they differ (RTM_SETLINK). */
export function changeLink(
  batch: RtnetlinkBatch,
  ifindex: number,
  { from, to }: { readonly from: Link; readonly to: Link },
): void {
  const { nl } = batch;
  const original = allocated(nl.rtnl_link_alloc());
  const changes = allocated(nl.rtnl_link_alloc());
  try {
    nl.rtnl_link_set_ifindex(original, ifindex);
    setAttributes(batch, changes, to, from);
    batch.append(nl.rtnl_link_build_change_request(original, changes, 0, batch.out));
  } finally {
    nl.rtnl_link_put(original);
    nl.rtnl_link_put(changes);
  }
}

/** Appends RTM_DELLINK. */
export function deleteLink(batch: RtnetlinkBatch, ifindex: number): void {
  const { nl } = batch;
  const object = allocated(nl.rtnl_link_alloc());
  try {
    nl.rtnl_link_set_ifindex(object, ifindex);
    batch.append(nl.rtnl_link_build_delete_request(object, batch.out));
  } finally {
    nl.rtnl_link_put(object);
  }
}

/** Appends RTM_GETLINK for one device, by name or by index. */
export function getLink(batch: RtnetlinkBatch, which: string | number): void {
  const [ifindex, name] = typeof which === "number" ? [which, null] : [0, cString(which)];
  batch.append(batch.nl.rtnl_link_build_get_request(ifindex, name, batch.out));
}

/** Appends a request for all devices. */
export function dumpLinks(batch: MessageBatch): void {
  const header = new Uint8Array(k.ifinfomsg.size);
  const filter = writeFilter(k.IFLA_EXT_MASK, k.RTEXT_FILTER_SKIP_STATS);
  batch.build(k.RTM_GETLINK, k.NLM_F_DUMP, header, filter);
}

function setAttributes(batch: RtnetlinkBatch, object: Pointer, to: Link, from?: Link): void {
  const { nl } = batch;
  if (to.mtuBytes !== from?.mtuBytes) nl.rtnl_link_set_mtu(object, to.mtuBytes);
  if (to.mac !== (from?.mac ?? NO_MAC)) {
    const mac = batch.newMac();
    batch.assignMac(mac, to.mac);
    nl.rtnl_link_set_addr(object, mac);
    nl.nl_addr_put(mac);
  }
  if (to.up === from?.up) return;
  if (to.up) nl.rtnl_link_set_flags(object, k.IFF_UP);
  else nl.rtnl_link_unset_flags(object, k.IFF_UP);
}
