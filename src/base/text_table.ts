/** A table for a terminal: columns as wide as their widest cell, two spaces apart. */

import { escaped } from "./quoting.ts";

/** The lines, without spaces at their ends. Cells are escaped. A missing cell is empty. */
export function tableLines(rows: readonly (readonly string[])[]): string[] {
  const lines = rows.map((cells) => cells.map(escaped));
  const columns = Math.max(0, ...lines.map((cells) => cells.length));
  const widths = Array.from(
    { length: columns },
    (_, column) => lines.reduce((width, cells) => Math.max(width, cells[column]?.length ?? 0), 0),
  );
  return lines.map((cells) =>
    cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()
  );
}
