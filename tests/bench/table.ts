/** One measured quantity of both programs, and the tables it is shown in. */

export interface Row {
  /** What was measured, in a few words, with its unit's meaning clear. */
  readonly what: string;
  readonly unit: "s" | "ms" | "MiB" | "kB" | "processes";
  readonly ours: number;
  readonly theirs: number;
  /** The other program had not done it by then: `theirs` is how long it was waited for. */
  readonly isTheirsUnfinished?: boolean;
  /** The program that `theirs` measures. */
  readonly against: string;
  /** How many times less ours should need, where a goal was set. */
  readonly goal?: number;
  /** How much ours may need, in the row's unit, where the other program is no measure. */
  readonly limit?: number;
  /** The point in docs/growth.svg that this row is. */
  readonly point?: { readonly series: GrowthSeries; readonly leases: number };
  /** What a reader must know to interpret the figures. */
  readonly note?: string;
}

export type GrowthSeries = "resident" | "anonymous" | "cpu";

/** What a part has measured, with what is shown below its table. */
export interface Measured {
  readonly rows: readonly Row[];
  /** Markdown. */
  readonly details?: string;
}

/** The rows as a markdown table, which reads well on a terminal too. */
export function markdownTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.what,
    amount(row.ours, row.unit),
    `${atLeast(row)}${amount(row.theirs, row.unit)} (${row.against})`,
    `${atLeast(row)}${factor(row)}`,
    verdict(row),
  ]);
  const head = ["what", "ours", "theirs", "theirs / ours", "goal"];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...cells.map((line) => line[column]?.length ?? 0))
  );
  const line = (fields: readonly string[]) =>
    `| ${fields.map((text, column) => text.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const rule = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
  const notes = rows.filter((row) => row.note).map((row) => `- ${row.what}: ${row.note}`);
  return [line(head), rule, ...cells.map(line), ...(notes.length ? ["", ...notes] : [])].join("\n");
}

/** How many times less ours needs; infinite when ours needs nothing and the other does. */
export function ratio(row: Row): number {
  if (row.ours === 0) return row.theirs === 0 ? 1 : Infinity;
  return row.theirs / row.ours;
}

/** A goal counts as met if both programs need nothing. */
function verdict(row: Row): string {
  const { goal, limit, unit } = row;
  if (limit !== undefined) return `≤ ${limit} ${unit}: ${row.ours <= limit ? "met" : "missed"}`;
  if (goal === undefined) return "";
  if (row.ours === 0 && row.theirs === 0) return `≥ ${goal}: both none`;
  return `≥ ${goal}: ${ratio(row) >= goal ? "met" : "missed"}`;
}

function atLeast({ isTheirsUnfinished = false }: Row): string {
  return isTheirsUnfinished ? "> " : "";
}

function factor(row: Row): string {
  const value = ratio(row);
  if (value === Infinity) return "none against some";
  return `${value >= 100 ? Math.round(value) : Number(value.toPrecision(2))}×`;
}

function amount(value: number, unit: Row["unit"]): string {
  const digits = unit === "processes" || value === 0 ? value.toFixed(0) : value.toPrecision(3);
  return `${Number(digits)} ${unit}`;
}

/** The middle of the values; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which `part` (0…1) of the values lie, interpolated. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * part;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) throw new Error("no values were measured");
  return below + (above - below) * (position - Math.floor(position));
}
