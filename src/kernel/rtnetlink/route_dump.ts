/** Reading rtnetlink's tables: links, addresses, neighbours, forwarding entries, routes. */

import * as k from "../../../ffi/linux.ts";
import { FAMILIES, type Family } from "../../addr/ip.ts";
import { linkOf } from "../../state/resource_key.ts";
import type { Resource, ResourceKind } from "../../state/resource.ts";
import type { Channel } from "../wire/channel.ts";
import {
  completeLink,
  decodeAddress,
  type DecodedLink,
  decodeLink,
  decodeNeighbour,
  decodeRoute,
  deviceOf,
  type LinkNames,
} from "./decoder.ts";
import type { DumpKind, Encoder } from "./encoder.ts";
import type { DumpAttempt } from "../wire/interrupted_dump.ts";
import type { MessageReader } from "../wire/message_reader.ts";

/**
 * Reads the entries of these kinds once, whoever made them. `links` limits those that lie on devices
 * to these; routes are read from all. Throws `KernelError`.
 */
export function readTables(
  questions: Channel<Encoder>,
  kinds: readonly ResourceKind[],
  links: ReadonlySet<string> | undefined,
): DumpAttempt<Resource[]> {
  const decodedLinks: DecodedLink[] = [];
  const outcome = questions.readTable((encoder) => encoder.dump("link", 0, 0), (message) => {
    const decoded = decodeLink(message);
    if (decoded !== undefined) decodedLinks.push(decoded);
  });
  if (outcome === "interrupted") return { interrupted: "link" };
  const names = new Map(decodedLinks.map(({ ifindex, link }) => [ifindex, link.name]));
  const resources: Resource[] = [];
  if (kinds.includes("link")) {
    for (const decoded of decodedLinks) resources.push(completeLink(decoded, names));
  }
  for (const kind of ["address", "neighbour", "fdb", "route"] as const) {
    if (!kinds.includes(kind)) continue;
    const only = kind === "route" ? undefined : links;
    for (const { family, ifindex } of dumpRequests(kind, names, only)) {
      let isUnknownDevice = false;
      const outcome = questions.readTable(
        (encoder) => encoder.dump(kind, family, ifindex),
        (message) => {
          const resource = decodeEntry(message, names);
          if (resource === undefined) {
            const device = deviceOf(message);
            if (device !== 0 && !names.has(device)) isUnknownDevice = true;
          } else if (only === undefined || only.has(linkOf(resource) ?? "")) {
            resources.push(resource);
          }
        },
      );
      if (outcome === "interrupted" || isUnknownDevice) return { interrupted: kind };
    }
  }
  return { result: resources };
}

/** Filtering by device costs one request for each; beyond this many the whole table is cheaper. */
const FILTERED_LINKS = 8;

function decodeEntry(message: MessageReader, names: LinkNames): Resource | undefined {
  switch (message.type) {
    case k.RTM_NEWADDR:
      return decodeAddress(message, names);
    case k.RTM_NEWROUTE:
      return decodeRoute(message, names);
    case k.RTM_NEWNEIGH: {
      const neighbour = decodeNeighbour(message, names);
      return neighbour?.permanent ? neighbour.resource : undefined;
    }
  }
  return undefined;
}

/** The requests that together read one table, limited to some devices where there are few. */
function dumpRequests(
  kind: Exclude<DumpKind, "link">,
  names: LinkNames,
  links: ReadonlySet<string> | undefined,
): { readonly family: Family | 0; readonly ifindex: number }[] {
  if (kind === "route") return FAMILIES.map((family) => ({ family, ifindex: 0 }));
  if (links === undefined || links.size > FILTERED_LINKS) return [{ family: 0, ifindex: 0 }];
  return [...names].filter(([, name]) => links.has(name))
    .map(([ifindex]) => ({ family: 0, ifindex }));
}
