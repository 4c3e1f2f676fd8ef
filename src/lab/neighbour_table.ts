/**
 * How full the machine's neighbour tables (arp(7), ndisc) have been. All network namespaces share one
 * table for each family, with one limit: many hosts in namespaces fill what would be many tables.
 */

import { readFileSync } from "node:fs";
import type { Family } from "../addr/ip.ts";

/**
 * How many entries the tables have refused since the machine started. `undefined` outside the first
 * network namespace, which alone is told.
 */
export function refusedNeighbours(directory = "/proc/net/stat"): number | undefined {
  try {
    return ["arp_cache", "ndisc_cache"]
      .map((table) => columnSum(readFileSync(`${directory}/${table}`, "utf8"), "table_fulls"))
      .reduce((sum, count) => sum + count, 0);
  } catch {
    return undefined;
  }
}

/** What to say after pings in a lab during which the tables have refused that many entries. */
export function refusalText(
  refused: number,
  { hosts, families }: { readonly hosts: number; readonly families: readonly Family[] },
): string {
  // Each host knows each other one; with as many again, none is ever in the way of another.
  const entries = 2 * hosts * hosts;
  const settings = families.map((family) => `net.ipv${family}.neigh.default.gc_thresh3=${entries}`);
  return `this machine's neighbour table, which all hosts share, was full ${refused} times: pings ` +
    `took longer or were lost; to allow more entries: sysctl -w ${settings.join(" ")}`;
}

/** The sum of a column of hexadecimal numbers, one row for each processor; 0 without that column. */
function columnSum(text: string, name: string): number {
  const [header = [], ...rows] = text.trimEnd().split("\n").map((line) => line.split(/\s+/));
  const column = header.indexOf(name);
  return rows.reduce((sum, row) => sum + (parseInt(row[column] ?? "", 16) || 0), 0);
}
