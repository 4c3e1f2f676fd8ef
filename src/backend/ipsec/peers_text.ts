/** Names one or many peers in a line of the log. */

import type { TunnelEnd } from "./charon_connection.ts";

/**
 * `10.5.2.0/24 at 192.0.2.2`, or `37 peers (10.5.2.0/24 at 192.0.2.2, …)` with the first three. The
 * list may not be empty.
 */
export function peersText(peers: readonly TunnelEnd[]): string {
  const examples = peers.slice(0, EXAMPLES)
    .map(({ subnet, publicAddress }) => `${subnet} at ${publicAddress}`);
  if (peers.length === 1) return examples.join();
  if (peers.length > EXAMPLES) examples.push("…");
  return `${peers.length} peers (${examples.join(", ")})`;
}

const EXAMPLES = 3;
