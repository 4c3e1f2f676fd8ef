/** The list of leases for a terminal. */

import { valuesOf } from "../addr/family.ts";
import { FAMILIES } from "../addr/ip.ts";
import { escaped, truncated } from "../base/quoting.ts";
import { tableLines } from "../base/text_table.ts";
import { wrapLines } from "../base/text_wrap.ts";
import type { LeaseList, ListedLease } from "./lease_list.ts";

const HEAD = ["SUBNET", "ADDRESS", "BACKEND", "KIND", "LEFT", "HOST"];
const NONE = "-";

/**
 * One line for each lease where that fits into `columns`, or where there is no terminal. Otherwise,
 * IPv6 and the reason why a lease is ignored have lines of their own.
 */
export function leaseListText({ leases }: LeaseList, columns = Infinity): string {
  const lines = wideLines(leases);
  const fits = lines.every((line) => line.length <= columns);
  return (fits ? lines : narrowLines(leases, columns)).map((line) => `${line}\n`).join("");
}

function wideLines(leases: readonly ListedLease[]): string[] {
  const hasNotes = leases.some(({ ignored }) => ignored !== undefined);
  return tableLines([
    [...HEAD, ...(hasNotes ? ["IGNORED"] : [])],
    ...leases.map((lease) => [
      valuesOf(lease.subnets).join(",") || lease.key,
      valuesOf(lease.publicAddresses).join(",") || NONE,
      ...otherCells(lease),
      ...(lease.ignored === undefined ? [] : [lease.ignored]),
    ]),
  ]);
}

function narrowLines(leases: readonly ListedLease[], columns: number): string[] {
  const rows = leases.map((lease) => ({ lease, rows: familyRows(lease) }));
  const [head = "", ...lines] = tableLines([HEAD, ...rows.flatMap(({ rows }) => rows)]);
  let next = 0;
  const result = [head];
  for (const { lease, rows: { length } } of rows) {
    // The host's name is last: it is cut off, and no other cell.
    result.push(...lines.slice(next, next += length).map((line) => cutOff(line, columns)));
    if (lease.ignored !== undefined) {
      result.push(...indented(`ignored: ${escaped(lease.ignored)}`, columns));
    }
  }
  return result;
}

/** A row for each family: the first one has the other cells. */
function familyRows(lease: ListedLease): string[][] {
  const families = FAMILIES.filter((family) =>
    lease.subnets[family] !== undefined || lease.publicAddresses[family] !== undefined
  );
  if (families.length === 0) return [[lease.key, NONE, ...otherCells(lease)]];
  return families.map((family, index) => [
    lease.subnets[family] ?? NONE,
    lease.publicAddresses[family] ?? NONE,
    ...(index === 0 ? otherCells(lease) : []),
  ]);
}

function otherCells({ backend, kind, remainingSeconds, host }: ListedLease): string[] {
  return [
    backend || NONE,
    kind,
    remainingSeconds === undefined ? NONE : timeLeft(remainingSeconds),
    host ?? NONE,
  ];
}

/** Such as `23h59m`, `5m`, `12s`. */
export function timeLeft(seconds: number): string {
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}m` : `${Math.floor(minutes / 60)}h${minutes % 60}m`;
}

function cutOff(line: string, columns: number): string {
  const last = line.lastIndexOf("  ") + 2;
  const room = columns - last - 1;
  return line.length <= columns || room < 1
    ? line
    : line.slice(0, last) + truncated(line.slice(last), room);
}

function indented(text: string, columns: number): string[] {
  return wrapLines(text, columns - 4).map((line, index) => `${index === 0 ? "  " : "    "}${line}`);
}
