/** The codecs of all kinds of rtnetlink entries. A new kind is one more line here. */

import { ADDRESS_CODEC } from "./address_codec.ts";
import type { EntryCodec, RtnetlinkKind } from "./entry_codec.ts";
import { NEIGHBOUR_CODEC } from "./neighbour_codec.ts";
import { ROUTE_CODEC } from "./route_codec.ts";

export const ENTRY_CODECS: readonly EntryCodec[] = [ADDRESS_CODEC, NEIGHBOUR_CODEC, ROUTE_CODEC];

export const RTNETLINK_KINDS: readonly RtnetlinkKind[] = ENTRY_CODECS.flatMap(({ kinds }) => kinds);

export function codecOfKind(kind: RtnetlinkKind): EntryCodec {
  return BY_KIND[kind];
}

/** The codec of messages of this type, RTM_NEW* or RTM_DEL*. */
export function codecOfMessage(type: number): EntryCodec | undefined {
  return BY_MESSAGE[type];
}

const BY_KIND = Object.fromEntries(
  ENTRY_CODECS.flatMap((codec) => codec.kinds.map((kind) => [kind, codec])),
) as Record<RtnetlinkKind, EntryCodec>;

const BY_MESSAGE: (EntryCodec | undefined)[] = [];
for (const codec of ENTRY_CODECS) {
  BY_MESSAGE[codec.newType] = codec;
  BY_MESSAGE[codec.deleteType] = codec;
}
