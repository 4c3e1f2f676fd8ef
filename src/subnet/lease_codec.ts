/**
 * A lease as text: the last part of its key, and its value, as Go flannel reads and writes them.
 *
 * The text that is written is byte for byte that of Go's `json.Marshal` for `LeaseAttrs`. What is
 * read may be anything that Go accepts: keys in any case, unknown keys, absent parts.
 */

import { entriesOf, type PerFamily } from "../addr/family.ts";
import {
  FAMILIES,
  type Family,
  familyOf,
  type IpAddress,
  IPV4_UNSPECIFIED,
  parseIpAddress,
} from "../addr/ip.ts";
import { parsePrefix, type Prefix } from "../addr/prefix.ts";
import { jsonLimitProblem, type JsonLimits } from "../base/json_limits.ts";
import type { InvalidLease, Lease, LeaseAttributes, LeaseKey } from "./lease.ts";

/** An entry of the store; `key` is the part after `subnets/`. */
export interface LeaseEntry {
  readonly key: string;
  readonly value: string;
  readonly created: bigint;
  readonly changed: bigint;
}

/**
 * Enough for what the `extension` backend publishes: 64 KiB of text, with up to six bytes of JSON
 * for each byte. etcd and Go flannel allow 1.5 MiB; other leases need a few hundred bytes.
 */
export const LEASE_LIMITS: JsonLimits = { maxBytes: 512 * 1024, maxDepth: 32 };

/** Reads an entry; otherwise returns why it cannot be read. Never throws. */
export function decodeLease(entry: LeaseEntry): Lease | InvalidLease {
  try {
    return decodeEntry(entry);
  } catch (error) {
    return failedLease(entry.key as LeaseKey, error);
  }
}

/** A lease that this program failed to process. No lease may end another node's daemon. */
export function failedLease(key: LeaseKey, error: unknown): InvalidLease {
  const fault = error instanceof Error ? error : new Error(String(error));
  return { key, reason: `this program cannot process it: ${fault.message}`, fault };
}

function decodeEntry(entry: LeaseEntry): Lease | InvalidLease {
  const key = entry.key as LeaseKey;
  const subnets = decodeLeaseKey(entry.key);
  if (subnets === undefined) return { key, reason: "its key does not name a subnet" };
  const attributes = decodeLeaseValue(entry.value);
  if (typeof attributes === "string") return { key, reason: attributes };
  const { created, changed } = entry;
  return { key, subnets, attributes, created, changed };
}

export function isInvalidLease(lease: Lease | InvalidLease): lease is InvalidLease {
  return "reason" in lease;
}

/**
 * `10.5.52.0-24`, `10.5.52.0-24&fc00:0:0:34::-64` or, without IPv4, `0.0.0.0-0&fc00:0:0:34::-64`.
 */
export function encodeLeaseKey(subnets: PerFamily<Prefix>): LeaseKey {
  const ipv4 = (subnets[4] ?? ANY_IPV4).replace("/", "-");
  return (subnets[6] === undefined ? ipv4 : `${ipv4}&${subnets[6].replace("/", "-")}`) as LeaseKey;
}

/** The subnets that a key names; `undefined` unless it is spelled as `encodeLeaseKey` spells it. */
export function decodeLeaseKey(key: string): PerFamily<Prefix> | undefined {
  const [ipv4, ipv6] = key.split("&");
  const subnets: { 4?: Prefix; 6?: Prefix } = {};
  for (const part of [ipv4, ipv6]) {
    if (part === undefined) continue;
    const prefix = parsePrefix(part.replace("-", "/"));
    if (prefix === undefined) return undefined;
    if (prefix !== ANY_IPV4 || ipv6 === undefined) subnets[familyOf(prefix)] = prefix;
  }
  return encodeLeaseKey(subnets) === key ? subnets : undefined;
}

/** The value's JSON, with the fields in Go's order, without empty ones. */
export function encodeLeaseValue(attributes: LeaseAttributes): string {
  const { publicAddresses, backendType, backendData } = attributes;
  const fields: Record<string, unknown> = {
    PublicIP: publicAddresses[4] ?? IPV4_UNSPECIFIED,
    PublicIPv6: publicAddresses[6] ?? null,
  };
  if (backendType !== "") fields.BackendType = backendType;
  for (const [family, data] of entriesOf(backendData)) fields[DATA_FIELDS[family]] = data;
  return goJson(fields);
}

/** A value as JSON, byte for byte as Go's `json.Marshal` writes it. */
export function goJson(value: unknown): string {
  return escapeAsGo(JSON.stringify(value));
}

/** The attributes in a value's JSON; otherwise why it cannot be read. */
export function decodeLeaseValue(text: string): LeaseAttributes | string {
  const excess = jsonLimitProblem(text, LEASE_LIMITS);
  if (excess !== undefined) return `its value ${excess}`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "its value is not JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return "its value is not a JSON object";
  }
  const fields: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (key !== "__proto__") fields[key.toLowerCase()] = item;
  }
  const publicAddresses: { 4?: IpAddress; 6?: IpAddress } = {};
  const backendData: { 4?: unknown; 6?: unknown } = {};
  for (const family of FAMILIES) {
    const address = readPublicAddress(fields[ADDRESS_FIELDS[family].toLowerCase()], family);
    if (address === "invalid") {
      return `its ${ADDRESS_FIELDS[family]} is not an IPv${family} address`;
    }
    if (address !== undefined) publicAddresses[family] = address;
    const data: unknown = fields[DATA_FIELDS[family].toLowerCase()];
    if (data !== undefined && data !== null) backendData[family] = data;
  }
  const backendType: unknown = fields["backendtype"] ?? "";
  if (typeof backendType !== "string") return "its BackendType is not a string";
  return { publicAddresses, backendType, backendData };
}

const ANY_IPV4 = "0.0.0.0/0" as Prefix;
const ADDRESS_FIELDS = { 4: "PublicIP", 6: "PublicIPv6" } as const;
const DATA_FIELDS = { 4: "BackendData", 6: "BackendV6Data" } as const;

function readPublicAddress(value: unknown, family: Family): IpAddress | "invalid" | undefined {
  if (value === undefined || value === null || value === IPV4_UNSPECIFIED && family === 4) {
    return undefined;
  }
  const address = typeof value === "string" ? parseIpAddress(value) : undefined;
  return address !== undefined && familyOf(address) === family ? address : "invalid";
}

/** Go escapes what could end a script element, and the line separators of JavaScript. */
function escapeAsGo(json: string): string {
  return json.replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
