/** Reading rtnetlink's tables: devices, and the entries on them. */

import type { Family } from "../../addr/ip.ts";
import type { Resource, ResourceKind } from "../../state/resource.ts";
import { linkOf } from "../../state/resource_key.ts";
import type { Channel } from "../wire/channel.ts";
import type { DumpAttempt } from "../wire/interrupted_dump.ts";
import type { MessageReader } from "../wire/message_reader.ts";
import type { EntryCodec, LinkNames } from "./entry_codec.ts";
import { codecOfKind, RTNETLINK_KINDS } from "./entry_codecs.ts";
import { completeLink, type DecodedLink, decodeLink } from "./link_decoder.ts";
import { dumpLinks } from "./link_messages.ts";
import type { RtnetlinkEncoder } from "./rtnetlink_encoder.ts";

/**
 * Reads all entries of these kinds once, ours or not. `links` limits entries on devices to these
 * devices; routes are not limited. Throws `KernelError`.
 */
export function readTables(
  queries: Channel<RtnetlinkEncoder>,
  kinds: readonly ResourceKind[],
  links: ReadonlySet<string> | undefined,
): DumpAttempt<Resource[]> {
  const decodedLinks: DecodedLink[] = [];
  const outcome = queries.readTable(dumpLinks, (message) => {
    const decoded = decodeLink(message);
    if (decoded !== undefined) decodedLinks.push(decoded);
  });
  if (outcome === "interrupted") return { interrupted: "link" };
  const names = new Map(decodedLinks.map(({ ifindex, link }) => [ifindex, link.name]));
  const resources: Resource[] = [];
  if (kinds.includes("link")) {
    for (const decoded of decodedLinks) resources.push(completeLink(decoded, names));
  }
  for (const kind of RTNETLINK_KINDS) {
    if (!kinds.includes(kind)) continue;
    const codec = codecOfKind(kind);
    const only = codec.isDumpedByDevice ? links : undefined;
    for (const { family, ifindex } of dumpRequests(codec, names, only)) {
      let hasUnknownDevice = false;
      const outcome = queries.readTable(
        (encoder) => codec.dump(encoder, { kind, family, ifindex }),
        (message) => {
          if (message.type !== codec.newType) return;
          const entry = codec.isIgnored(message) ? undefined : codec.decode(message, names);
          if (entry === undefined) hasUnknownDevice ||= isOnUnknownDevice(codec, message, names);
          else if (only === undefined || only.has(linkOf(entry) ?? "")) resources.push(entry);
        },
      );
      if (outcome === "interrupted" || hasUnknownDevice) return { interrupted: kind };
    }
  }
  return { result: resources };
}

/** Filtering by device takes one request for each; beyond this many, the whole table is cheaper. */
const FILTERED_LINKS = 8;

/** Whether an entry is on a device that was created after the devices were read. */
function isOnUnknownDevice(codec: EntryCodec, message: MessageReader, names: LinkNames): boolean {
  const ifindex = codec.ifindexOf(message);
  return ifindex !== 0 && !names.has(ifindex);
}

/** The requests that together read one table, limited to some devices where there are few. */
function dumpRequests(
  codec: EntryCodec,
  names: LinkNames,
  links: ReadonlySet<string> | undefined,
): { readonly family: Family | 0; readonly ifindex: number }[] {
  if (links === undefined || links.size > FILTERED_LINKS) {
    return codec.dumpFamilies.map((family) => ({ family, ifindex: 0 }));
  }
  return [...names].filter(([, name]) => links.has(name)).flatMap(([ifindex]) =>
    codec.dumpFamilies.map((family) => ({ family, ifindex }))
  );
}
