/** Special-purpose address blocks (RFC 6890) that an overlay network cannot use. */

import { parsePrefix, type Prefix, prefixesOverlap } from "./prefix.ts";

export interface SpecialPurposeBlock {
  readonly block: Prefix;
  /** Completes "10.0.0.0/8 is …". */
  readonly use: string;
}

/** The first such block that overlaps the prefix, if any. */
export function specialPurposeBlock(prefix: Prefix): SpecialPurposeBlock | undefined {
  return BLOCKS.find(({ block }) => prefixesOverlap(block, prefix));
}

/** Shared, private, benchmarking and documentation addresses are not listed: networks use them. */
const BLOCKS: readonly SpecialPurposeBlock[] = [
  { block: block("0.0.0.0/8"), use: "this host on this network" },
  { block: block("127.0.0.0/8"), use: "loopback" },
  { block: block("169.254.0.0/16"), use: "link-local" },
  { block: block("224.0.0.0/4"), use: "multicast" },
  { block: block("240.0.0.0/4"), use: "reserved, with the broadcast address" },
  { block: block("::/8"), use: "reserved, with loopback and IPv4-mapped addresses" },
  { block: block("fe80::/10"), use: "link-local" },
  { block: block("ff00::/8"), use: "multicast" },
];

function block(text: string): Prefix {
  return parsePrefix(text) as Prefix;
}
