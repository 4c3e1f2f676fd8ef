/**
 * A dump as JSON lines: a header, the leases, the keys, and a last line that shows that the file is
 * complete.
 *
 * ```
 * {"flanneldDatastore":1,"revision":"52"}
 * {"lease":"694d77aa9e38260f","remainingSeconds":"86012"}
 * {"key":"/coreos.com/network/config","value":"{\"Network\":\"10.5.0.0/16\"}"}
 * {"key":"/coreos.com/network/subnets/10.5.52.0-24","value":"…","lease":"694d77aa9e38260f"}
 * {"end":true,"leases":1,"keys":2}
 * ```
 *
 * A key or value that is not valid text is encoded in base64, as `keyBase64` or `valueBase64`.
 */

import { DatastoreError } from "../mvcc/datastore_error.ts";
import { leaseText } from "../mvcc/lessor.ts";
import type { Dump, DumpedEntry, DumpedLease } from "./dump.ts";

const FORMAT = 1;

export function dumpText({ revision, leases, entries }: Dump): string {
  const lines: object[] = [
    { flanneldDatastore: FORMAT, revision: `${revision}` },
    ...leases.map(({ id, remainingSeconds }) => ({
      lease: leaseText(id),
      remainingSeconds: `${remainingSeconds}`,
    })),
    ...entries.map(({ key, value, lease }) => ({
      ...bytesField("key", key),
      ...bytesField("value", value),
      ...(lease !== 0n && { lease: leaseText(lease) }),
    })),
    { end: true, leases: leases.length, keys: entries.length },
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

/** Throws `DatastoreError` that names the first invalid line, or what is missing. */
export function parseDump(text: string): Dump {
  const lines = text.split("\n").filter((line) => line.trim() !== "").map(parseLine);
  const head = lines.shift();
  if (head?.["flanneldDatastore"] !== FORMAT) {
    throw new DatastoreError("not a flanneld export: unexpected header");
  }
  const foot = lines.pop();
  const leases = lines.filter((line) => "remainingSeconds" in line).map(leaseOf);
  const entries = lines.filter((line) => !("remainingSeconds" in line)).map(entryOf);
  if (
    foot?.["end"] !== true || foot["leases"] !== leases.length || foot["keys"] !== entries.length
  ) {
    throw new DatastoreError(
      "incomplete export: the last line is missing or has other counts; export again",
    );
  }
  const known = new Set(leases.map(({ id }) => id));
  const orphan = entries.find(({ lease }) => lease !== 0n && !known.has(lease));
  if (orphan !== undefined) {
    throw new DatastoreError(
      `incomplete export: lease ${leaseText(orphan.lease)} of a key is missing; export again`,
    );
  }
  return { revision: BigInt(numberField(head, "revision", /^\d{1,19}$/)), leases, entries };
}

type Line = Readonly<Record<string, unknown>> & { readonly number: number };

function parseLine(text: string, index: number): Line {
  const number = index + 1;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return { ...value, number };
  } catch {
    // Reported below.
  }
  throw new DatastoreError(`line ${number} of the export is not a JSON object`);
}

function leaseOf(line: Line): DumpedLease {
  return {
    id: leaseField(line),
    remainingSeconds: BigInt(numberField(line, "remainingSeconds", /^[1-9]\d{0,9}$/)),
  };
}

function entryOf(line: Line): DumpedEntry {
  const lease = "lease" in line ? leaseField(line) : 0n;
  return { key: readBytes(line, "key"), value: readBytes(line, "value"), lease };
}

function leaseField(line: Line): bigint {
  const digits = numberField(line, "lease", /^[0-9a-f]{1,16}$/);
  return BigInt.asIntN(64, BigInt(`0x${digits}`));
}

function numberField(line: Line, name: string, pattern: RegExp): string {
  const text = textField(line, name);
  if (!pattern.test(text)) {
    throw new DatastoreError(
      `line ${line.number} of the export: invalid ${name} ${JSON.stringify(text)}`,
    );
  }
  return text;
}

function textField(line: Line, name: string): string {
  const value = line[name];
  if (typeof value === "string") return value;
  throw new DatastoreError(`line ${line.number} of the export has no ${name}`);
}

function bytesField(name: string, bytes: Uint8Array): Record<string, string> {
  try {
    return { [name]: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { [`${name}Base64`]: bytes.toBase64() };
  }
}

function readBytes(line: Line, name: string): Uint8Array {
  if (!(`${name}Base64` in line)) return new TextEncoder().encode(textField(line, name));
  const text = textField(line, `${name}Base64`);
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    throw new DatastoreError(`line ${line.number} of the export: ${name}Base64 is not base64`);
  }
}
