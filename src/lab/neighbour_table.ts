/**
 * Overflows of the machine's neighbour tables (arp(7), ndisc). All network namespaces share one
 * table for each family, with one limit, so that a lab with many hosts can fill it.
 */

import { readFileSync } from "node:fs";
import type { Family } from "../addr/ip.ts";

/**
 * How many entries the tables have rejected since the machine started. `undefined` outside of the
 * initial network namespace, the only one in which the kernel shows it.
 */
export function rejectedNeighbours(directory = "/proc/net/stat"): number | undefined {
  try {
    return ["arp_cache", "ndisc_cache"]
      .map((table) => columnSum(readFileSync(`${directory}/${table}`, "utf8"), "table_fulls"))
      .reduce((sum, count) => sum + count, 0);
  } catch {
    return undefined;
  }
}

/** The message after a lab in which the tables have rejected that many entries. */
export function rejectedText(
  rejected: number,
  { hosts, families }: { readonly hosts: number; readonly families: readonly Family[] },
): string {
  // Each host has an entry for each other host; twice that leaves room for entries that expire.
  const entries = 2 * hosts * hosts;
  const settings = families.map((family) => `net.ipv${family}.neigh.default.gc_thresh3=${entries}`);
  return `this machine's neighbour table, which all hosts share, overflowed ${rejected} times: ` +
    `pings were slow or lost; to allow more entries: sysctl -w ${settings.join(" ")}`;
}

/** The sum of a column of hexadecimal numbers, one row for each CPU; 0 if it has no such column. */
function columnSum(text: string, name: string): number {
  const [header = [], ...rows] = text.trimEnd().split("\n").map((line) => line.split(/\s+/));
  const column = header.indexOf(name);
  return rows.reduce((sum, row) => sum + (parseInt(row[column] ?? "", 16) || 0), 0);
}
