/** The other nodes as a table, and the path of a packet to one of them. */

import { printableLine, truncated } from "../base/quoting.ts";
import { tableLines } from "../base/text_table.ts";
import type { PathStep } from "./packet_path.ts";
import type { PeerDocument } from "./peer_document.ts";
import { type Paint, PLAIN } from "./terminal_text.ts";

/** A row for each peer, below a header. */
export function peersTable(peers: readonly PeerDocument[]): string {
  const rows = peers.map(({ lease, subnets, publicAddresses, path, identities, problem }) =>
    [
      subnets.join(" ") || lease,
      publicAddresses.join(" ") || "-",
      path,
      identities.join(" ") || "-",
      problem ?? "",
    ].map((cell) => truncated(cell, MAX_CELL))
  );
  const lines = tableLines([
    ["SUBNET", "PUBLIC ADDRESS", "PATH", "MAC OR KEY", "PROBLEM"],
    ...rows,
  ]);
  return lines.map((line) => `${line}\n`).join("");
}

/** No cell of a valid lease is longer. */
const MAX_CELL = 200;

/** A line for each step; below one that is wrong, the reason. */
export function pathText(steps: readonly PathStep[], paint: Paint = PLAIN): string {
  return steps.flatMap(({ ok, text, problem }, index) => {
    const verdict = ok ? paint.good("ok   ") : paint.bad("wrong");
    const line = `${String(index + 1).padStart(2)}  ${verdict}  ${printableLine(text)}\n`;
    return problem === null ? [line] : [line, `           ${printableLine(problem)}\n`];
  }).join("");
}
