/** Decodes messages of the IPsec database (linux/xfrm.h) to policies. */

import * as k from "../../../ffi/linux.ts";
import { addressFromBytes, type IpAddress } from "../../addr/ip.ts";
import { makePrefix, type Prefix, prefixAddress } from "../../addr/prefix.ts";
import type { XfrmPolicy, XfrmTunnel } from "../../state/resource.ts";
import { addressLength, familyFrom } from "../wire/address_family.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";
import { DIRECTIONS } from "./xfrm_encoder.ts";

/**
 * Decodes XFRM_MSG_NEWPOLICY, _UPDPOLICY or _DELPOLICY. `undefined` for a policy that an
 * `XfrmPolicy` cannot express, and whose key is never one of ours: a sub-policy, or one for a
 * socket, a mark, an interface, some ports or one protocol.
 */
export function decodePolicy(message: MessageReader): XfrmPolicy | undefined {
  const isDeletion = message.type === k.XFRM_MSG_DELPOLICY;
  const headBytes = isDeletion ? k.xfrm_userpolicy_id.size : k.xfrm_userpolicy_info.size;
  if (message.end - message.start < headBytes) return undefined;
  attributes.read(message, message.start + headBytes, message.end);
  if (isSpecial()) return undefined;
  // The header of a deletion has only the key or the index of the policy; an attribute has it all.
  const info = isDeletion
    ? attributes.bytes(k.XFRMA_POLICY)
    : message.bytes.subarray(message.start, message.start + headBytes);
  if (info === undefined || info.length < k.xfrm_userpolicy_info.size) return undefined;
  const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
  const direction = DIRECTION_NAMES[view.getUint8(k.xfrm_userpolicy_info.dir)];
  const selector = decodeSelector(info, view);
  if (direction === undefined || selector === undefined) return undefined;
  const allows = view.getUint8(k.xfrm_userpolicy_info.action) === k.XFRM_POLICY_ALLOW;
  const tunnel = allows ? decodeTunnel(attributes.bytes(k.XFRMA_TMPL)) : undefined;
  return { kind: "xfrm-policy", direction, ...selector, ...(tunnel && { tunnel }) };
}

const attributes = new Attributes();

const DIRECTION_NAMES: { readonly [direction: number]: XfrmPolicy["direction"] | undefined } = {
  [DIRECTIONS.in]: "in",
  [DIRECTIONS.out]: "out",
  [DIRECTIONS.fwd]: "fwd",
};

function isSpecial(): boolean {
  // struct xfrm_userpolicy_type begins with the type, struct xfrm_mark consists of value and mask.
  const type = attributes.bytes(k.XFRMA_POLICY_TYPE)?.[0] ?? k.XFRM_POLICY_TYPE_MAIN;
  const mark = attributes.bytes(k.XFRMA_MARK) ?? [];
  const ifId = attributes.u32(k.XFRMA_IF_ID) ?? 0;
  return type !== k.XFRM_POLICY_TYPE_MAIN || ifId !== 0 || mark.some((byte) => byte !== 0);
}

function decodeSelector(
  bytes: Uint8Array,
  view: DataView,
): Pick<XfrmPolicy, "source" | "destination"> | undefined {
  const s = k.xfrm_selector;
  const family = familyFrom(view.getUint16(s.family, true));
  const isNarrow = view.getUint32(s.dport) !== 0 || view.getUint32(s.sport) !== 0 ||
    view.getUint8(s.proto) !== 0 || view.getInt32(s.ifindex, true) !== 0 ||
    view.getUint32(s.user, true) !== 0;
  if (family === undefined || isNarrow) return undefined;
  const prefixAt = (at: number, lengthAt: number) =>
    decodePrefix(bytes.subarray(at, at + addressLength(family)), view.getUint8(lengthAt));
  const source = prefixAt(s.saddr, s.prefixlen_s);
  const destination = prefixAt(s.daddr, s.prefixlen_d);
  return source && destination && { source, destination };
}

/** `undefined` if a bit beyond the length is set: for the kernel, that is another selector. */
function decodePrefix(bytes: Uint8Array, length: number): Prefix | undefined {
  const address = addressFromBytes(bytes);
  if (length > bytes.length * 8) return undefined;
  const prefix = makePrefix(address, length);
  return prefixAddress(prefix) === address ? prefix : undefined;
}

/** The one template, if it requires an ESP tunnel. */
function decodeTunnel(bytes: Uint8Array | undefined): XfrmTunnel | undefined {
  const t = k.xfrm_user_tmpl;
  if (bytes?.length !== t.size) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = familyFrom(view.getUint16(t.family, true));
  const isEspTunnel = view.getUint8(t.id + k.xfrm_id.proto) === k.IPPROTO_ESP &&
    view.getUint8(t.mode) === k.XFRM_MODE_TUNNEL && view.getUint8(t.optional) === 0 &&
    view.getUint32(t.id + k.xfrm_id.spi) === 0;
  if (family === undefined || !isEspTunnel) return undefined;
  const addressAt = (at: number): IpAddress =>
    addressFromBytes(bytes.subarray(at, at + addressLength(family)));
  return {
    source: addressAt(t.saddr),
    destination: addressAt(t.id + k.xfrm_id.daddr),
    reqid: view.getUint32(t.reqid, true),
  };
}
