/** Audited calls as lines that a reviewer reads: the call, and below it what a patch contains. */

import { stringify } from "yaml";
import type { AuditedCall } from "./audit_log.ts";

/**
 * The lines of these calls; watches come last, since they run at the same time as the others. What
 * differs in each run is replaced by a word in capitals: `values` by their names, times, resource
 * versions, and durations of watches that are in their range.
 */
export function callLines(
  calls: readonly AuditedCall[],
  values: Readonly<Record<string, string>> = {},
): string[] {
  const isWatch = ({ verb }: AuditedCall) => verb === "watch";
  return [...calls.filter((call) => !isWatch(call)), ...calls.filter(isWatch)]
    .flatMap((call) => [`${call.verb} ${target(call)}`, ...patchLines(call)])
    .map((line) => withNames(line, values));
}

/** The path without the version of the API, the query, and the status of a failure. */
function target({ uri, status }: AuditedCall): string {
  const text = decodeURIComponent(uri).replace(/^\/api\/v1\//, "");
  return status === 200 ? text : `${text} → ${status}`;
}

function patchLines({ body }: AuditedCall): string[] {
  if (body === undefined) return [];
  const text = stringify(body, { lineWidth: 0 });
  return text.trimEnd().split("\n").map((line) => `  ${line}`);
}

function withNames(line: string, values: Readonly<Record<string, string>>): string {
  const named = Object.entries(values).reduce(
    (text, [name, value]) => text.replaceAll(value, name),
    line,
  );
  return named
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/, "TIME")
    .replace(/resourceVersion=[1-9]\d*/, "resourceVersion=VERSION")
    .replace(
      /timeoutSeconds=(\d+)/,
      (text, seconds) => seconds >= 300 && seconds <= 600 ? "timeoutSeconds=SECONDS" : text,
    );
}
