/** The result of a lab, as a table for people and as JSON for programs. */

import { entriesOf, type PerFamily, valuesOf } from "../addr/family.ts";
import { FAMILIES, type Family, type IpAddress } from "../addr/ip.ts";
import type { Ping } from "./ping_matrix.ts";

export interface LabReport {
  readonly lab: string;
  readonly backend: string;
  readonly hosts: readonly HostReport[];
  readonly pings: readonly Ping[];
  /** Every ping succeeded. */
  readonly ok: boolean;
}

export interface HostReport {
  readonly name: string;
  readonly publicAddresses: PerFamily<IpAddress>;
  readonly subnets: PerFamily<string>;
  readonly mtuBytes: number;
  /** From the start of the daemon to its subnet file. */
  readonly readyMs: number;
}

/** A matrix of more hosts does not fit a terminal. */
const MAX_MATRIX_HOSTS = 12;
/** Lost pings that are listed in that case; the JSON document has all. */
const MAX_LOST = 20;

/** The hosts, then a matrix of round-trip times in milliseconds for each family. */
export function reportText(report: LabReport): string {
  const families = FAMILIES.filter((family) => report.pings.some((ping) => ping.family === family));
  const matrices = families.map((family) => pingText(report, family));
  return [hostTable(report.hosts), ...matrices].join("\n\n") + "\n";
}

/** The report as one JSON document. */
export function reportJson(report: LabReport): string {
  const perFamily = <T>(values: PerFamily<T>) =>
    Object.fromEntries(entriesOf(values).map(([family, value]) => [`ipv${family}`, value]));
  return JSON.stringify(
    {
      ...report,
      hosts: report.hosts.map((host) => ({
        ...host,
        publicAddresses: perFamily(host.publicAddresses),
        subnets: perFamily(host.subnets),
      })),
      pings: report.pings.map((ping) => ({ ...ping, ok: ping.milliseconds !== undefined })),
    },
    null,
    2,
  ) + "\n";
}

function hostTable(hosts: readonly HostReport[]): string {
  const text = (values: PerFamily<string>) => valuesOf(values).join(" ");
  return columns([
    ["HOST", "PUBLIC IP", "SUBNET", "MTU", "READY"],
    ...hosts.map((host) => [
      host.name,
      text(host.publicAddresses),
      text(host.subnets),
      String(host.mtuBytes),
      `${(host.readyMs / 1000).toFixed(2)} s`,
    ]),
  ]);
}

function pingText(report: LabReport, family: Family): string {
  const pings = report.pings.filter((ping) => ping.family === family);
  const lost = pings.filter((ping) => ping.milliseconds === undefined);
  const summary = `IPv${family}: ${pings.length - lost.length} of ${pings.length} pings at full ` +
    "MTU succeeded";
  if (report.hosts.length > MAX_MATRIX_HOSTS) {
    const named = lost.slice(0, MAX_LOST).map(({ from, to }) => `no reply from ${to} to ${from}`);
    const rest = lost.length - named.length;
    return [summary, ...named, ...(rest > 0 ? [`and ${rest} more`] : [])].join("\n");
  }
  const cell = (from: string, to: string) => {
    if (from === to) return ".";
    return pings.find((ping) => ping.from === from && ping.to === to)
      ?.milliseconds?.toFixed(2) ?? "LOST";
  };
  const names = report.hosts.map((host) => host.name);
  return `${summary} (ms)\n` + columns([
    ["FROM", ...names.map((name) => `to ${name}`)],
    ...names.map((from) => [from, ...names.map((to) => cell(from, to))]),
  ]);
}

function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] as string[]).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] as string).length))
  );
  return rows.map((row) =>
    row.map((text, column) => text.padEnd(widths[column] as number)).join("  ").trimEnd()
  ).join("\n");
}
