/**
 * A lease that takes little memory: its content is one string, which is decoded when it is read. A
 * daemon has the leases of all nodes, and reads one when it changes.
 */

import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Lease, LeaseAttributes, LeaseKey } from "./lease.ts";

/** Returns the same lease in little memory, or itself if it cannot be packed. */
export function packLease(lease: Lease): Lease {
  if (lease instanceof PackedLease) return lease;
  const { subnets, attributes: { publicAddresses, backendType, backendData } } = lease;
  // JSON returns one flat string; a concatenation would keep its parts.
  const text = JSON.stringify([
    subnets[4] ?? "",
    subnets[6] ?? "",
    publicAddresses[4] ?? "",
    publicAddresses[6] ?? "",
    backendType,
    backendData,
  ]);
  // JSON writes null for an infinite number. Neither occurs in an ordinary lease.
  return text.includes("null") ? lease : packedLease(lease, text);
}

/** All of a lease but its key, as one text; `undefined` if it cannot be packed. */
export function packedText(lease: Lease): string | undefined {
  const packed = packLease(lease);
  // UTF-8 cannot contain lone surrogates. JSON escapes those of the text, but not of the key.
  if (!(packed instanceof PackedLease) || !packed.key.isWellFormed()) return undefined;
  return `${packed.created} ${packed.changed} ${packed.text}`;
}

/** Whether two leases have the same content. False if it cannot be compared as text. */
export function equalLeases(a: Lease, b: Lease): boolean {
  if (a === b) return true;
  const text = packedText(a);
  return text !== undefined && a.key === b.key && text === packedText(b);
}

/** The lease of which these are the key and the text. */
export function unpackLease(key: LeaseKey, text: string): Lease {
  const changed = text.indexOf(" ") + 1;
  const body = text.indexOf(" ", changed) + 1;
  const revisions = {
    created: parsed(text.slice(0, changed - 1)),
    changed: parsed(text.slice(changed, body - 1)),
  };
  return new PackedLease({ key, ...revisions }, text.slice(body));
}

interface PackedHead {
  readonly key: LeaseKey;
  readonly created: number | bigint;
  readonly changed: number | bigint;
}

function packedLease({ key, created, changed }: Lease, text: string): PackedLease {
  // A copy: the key may be a part of a longer string, which it would keep.
  const copy = JSON.parse(JSON.stringify(key)) as LeaseKey;
  return new PackedLease(
    { key: copy, created: compact(created), changed: compact(changed) },
    text,
  );
}

class PackedLease implements Lease {
  readonly key: LeaseKey;
  readonly #text: string;
  readonly #created: number | bigint;
  readonly #changed: number | bigint;

  constructor({ key, created, changed }: PackedHead, text: string) {
    this.key = key;
    this.#text = text;
    this.#created = created;
    this.#changed = changed;
  }

  get text(): string {
    return this.#text;
  }

  get subnets(): PerFamily<Prefix> {
    if (lastDecoded?.lease === this) return lastDecoded.subnets;
    const parts = this.#text.split('"', 4);
    return perFamily(parts[1] as Prefix, parts[3] as Prefix);
  }

  /** Its members are usually read one after the other. */
  get attributes(): LeaseAttributes {
    if (lastDecoded?.lease === this) return lastDecoded.attributes;
    const members = JSON.parse(this.#text) as Members;
    const attributes: LeaseAttributes = {
      publicAddresses: perFamily(members[2], members[3]),
      backendType: members[4],
      backendData: members[5],
    };
    lastDecoded = { lease: this, subnets: perFamily(members[0], members[1]), attributes };
    return attributes;
  }

  get created(): bigint {
    return BigInt(this.#created);
  }

  get changed(): bigint {
    return BigInt(this.#changed);
  }
}

/** The subnets and public addresses of IPv4 and IPv6, empty if there is none; type and data. */
type Members = [Prefix, Prefix, IpAddress, IpAddress, string, PerFamily<unknown>];

/** The lease whose attributes were read last. */
let lastDecoded: (Pick<Lease, "subnets" | "attributes"> & { readonly lease: Lease }) | undefined;

/** From the texts of IPv4 and IPv6, which are empty if there is no value. */
function perFamily<T extends string>(ipv4: T, ipv6: T): PerFamily<T> {
  if (ipv6 === "") return ipv4 === "" ? {} : { 4: ipv4 };
  return ipv4 === "" ? { 6: ipv6 } : { 4: ipv4, 6: ipv6 };
}

/** A number needs no object of its own. Equal values have the same type. */
function compact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function parsed(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}
