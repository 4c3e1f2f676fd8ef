/**
 * A lease as annotations of a Node, as Go flannel reads and writes them.
 *
 * What is written is byte for byte what Go flannel writes for the same node, so that each of the
 * two recognizes the other's annotations as its own and changes nothing when it takes over a node.
 */

import { familiesOf, mapFamilies, type PerFamily } from "../../addr/family.ts";
import {
  FAMILIES,
  type Family,
  familyOf,
  type IpAddress,
  IPV4_UNSPECIFIED,
  parseIpAddress,
} from "../../addr/ip.ts";
import type { GivenAddress } from "../../addr/given_address.ts";
import { parsePrefixMasked, type Prefix } from "../../addr/prefix.ts";
import { jsonLimitProblem } from "../../base/json_limits.ts";
import { quoted } from "../../base/quoting.ts";
import { ConfigError } from "../../config/config_error.ts";
import { publicAddressDefect, type PublicAddressRule } from "../../config/public_address_rule.ts";
import type { KubeNodeMetadata } from "../../kube/kube_api.ts";
import type { AnnotationFormat } from "../annotation_format.ts";
import type { InvalidLease, Lease, LeaseAttributes, LeaseKey } from "../lease.ts";
import { failedLease, goJson, LEASE_LIMITS } from "../lease_codec.ts";

/** The full names of the annotations. */
export interface AnnotationNames {
  /** Exactly `true` on a node that has a lease. */
  readonly managed: string;
  readonly backendType: string;
  readonly backendData: Readonly<Record<Family, string>>;
  readonly publicAddress: Readonly<Record<Family, string>>;
  /** Written by an operator: published instead of the node's own public address. */
  readonly overwrite: Readonly<Record<Family, string>>;
  /** Written by an operator: as the flag --public-ip or --public-ipv6. */
  readonly prescribed: Readonly<Record<Family, string>>;
}

/** The names with this `--kube-annotation-prefix`. Throws `ConfigError`. */
export function annotationNames(prefix: string): AnnotationNames {
  const slashes = prefix.split("/").length - 1;
  const error = (reason: string) =>
    new ConfigError(
      `--kube-annotation-prefix is ${quoted(prefix)}, which ${reason}; write a domain, such as ` +
        "flannel.alpha.coreos.com, or a domain with the start of a name, such as example.com/pods",
    );
  if (slashes > 1) throw error("contains more than one slash");
  let start = slashes === 0 ? `${prefix}/` : prefix;
  if (!/[/-]$/.test(start)) start += "-";
  if (!PREFIX.test(start)) throw error("is not in the format fqdn/[0-9a-z-_]*");
  return {
    managed: `${start}kube-subnet-manager`,
    backendType: `${start}backend-type`,
    backendData: { 4: `${start}backend-data`, 6: `${start}backend-v6-data` },
    publicAddress: { 4: `${start}public-ip`, 6: `${start}public-ipv6` },
    overwrite: { 4: `${start}public-ip-overwrite`, 6: `${start}public-ipv6-overwrite` },
    prescribed: { 4: `${start}node-public-ip`, 6: `${start}node-public-ipv6` },
  };
}

/** The lease that a Node is. A node has at most one, so its name identifies it. */
export function nodeLeaseKey(name: string): LeaseKey {
  return `node/${name}` as LeaseKey;
}

type Annotations = KubeNodeMetadata["annotations"];

/** What a node publishes. */
export interface EncodedAnnotations {
  readonly annotations: Annotations;
  /** The addresses in them: the node's own, or those of the overwrite annotations. */
  readonly publicAddresses: PerFamily<IpAddress>;
  /** Overwrite annotations that cannot be used, one line each. */
  readonly problems: readonly string[];
}

/** The annotations for these attributes, on a node that has the annotations `present`. */
export function encodeAnnotations(
  attributes: LeaseAttributes,
  present: Annotations,
  { names, format, config }: Pick<NodeRules, "names" | "format"> & PublicAddressRule,
): EncodedAnnotations {
  const { backendType, backendData } = attributes;
  const annotations: Record<string, string> = {
    [names.managed]: "true",
    [names.backendType]: backendType,
  };
  const publicAddresses: { 4?: IpAddress; 6?: IpAddress } = {};
  const problems: string[] = [];
  for (const family of FAMILIES) {
    const overwrite = readOverwrite(present, family, { names, config });
    if (overwrite?.problem !== undefined) problems.push(overwrite.problem);
    const address = overwrite?.address ?? attributes.publicAddresses[family];
    if (address !== undefined) publicAddresses[family] = address;
    if (!writesFamily(attributes, family, format)) continue;
    const data = backendData[family];
    annotations[names.backendData[family]] = data === undefined
      ? emptyData(format, family)
      : goJson(data);
    annotations[names.publicAddress[family]] = overwrite?.text ?? address ?? IPV4_UNSPECIFIED;
  }
  return { annotations, publicAddresses, problems };
}

/** Those of `wanted` that the node does not have. */
export function differingAnnotations(wanted: Annotations, present: Annotations): Annotations {
  return Object.fromEntries(
    Object.entries(wanted).filter(([name, value]) => valueOf(present, name) !== value),
  );
}

/** The value of an annotation. Their names are from outside, so `constructor` may be one. */
export function valueOf(annotations: Annotations, name: string): string | undefined {
  return Object.hasOwn(annotations, name) ? annotations[name] : undefined;
}

/** The addresses that an operator prescribes for a node. Throws `ConfigError`. */
export function prescribedAddressesOf(
  node: Pick<KubeNodeMetadata, "name" | "annotations">,
  { names, families }: NodeRules,
): PerFamily<GivenAddress> {
  return mapFamilies(families, (_, family) => {
    const name = names.prescribed[family];
    const text = valueOf(node.annotations, name);
    if (text === undefined || text === "") return undefined;
    const source = `annotation ${name} of node ${quoted(node.name)}`;
    const address = parseIpAddress(text);
    if (address !== undefined && familyOf(address) === family) return { address, source };
    throw new ConfigError(
      `${source} is ${quoted(text)}, not an IPv${family} address; correct it or remove it`,
    );
  });
}

/** How the annotations of all nodes are read. */
export interface NodeRules {
  readonly names: AnnotationNames;
  /** Those that the network has; annotations of others are not read. */
  readonly families: PerFamily<unknown>;
  /** That of the network's backend. */
  readonly format: AnnotationFormat;
}

/** The values in which a lease can differ, to compare two states of a node. */
export function leaseValues(
  { annotations }: Pick<KubeNodeMetadata, "annotations">,
  names: AnnotationNames,
): (string | undefined)[] {
  return [
    names.managed,
    names.backendType,
    names.backendData[4],
    names.backendData[6],
    names.publicAddress[4],
    names.publicAddress[6],
  ].map((name) => valueOf(annotations, name));
}

/** Whether the node says that it has a lease. */
export function isManaged(
  { annotations }: Pick<KubeNodeMetadata, "annotations">,
  names: AnnotationNames,
): boolean {
  return valueOf(annotations, names.managed) === "true";
}

/** Reads a managed node; otherwise returns why its lease cannot be read. Never throws. */
export function decodeNodeLease(
  node: KubeNodeMetadata,
  podCidrs: readonly string[],
  rules: NodeRules,
): Lease | InvalidLease {
  const key = nodeLeaseKey(node.name);
  try {
    const subnets = readPodCidrs(podCidrs);
    if (typeof subnets === "string") return { key, reason: subnets };
    const attributes = decodeAttributes(node.annotations, rules);
    if (typeof attributes === "string") return { key, reason: attributes };
    const missing = familiesOf(rules.families).find((family) => subnets[family] === undefined);
    if (missing !== undefined) {
      const found = podCidrs.length === 0 ? "empty" : podCidrs.map((one) => quoted(one)).join(", ");
      return { key, reason: `it has no IPv${missing} pod CIDR: its spec.podCIDRs is ${found}` };
    }
    return { key, subnets, attributes, ...agesOf(node, rules.names) };
  } catch (error) {
    return failedLease(key, error);
  }
}

/**
 * What a node published before, where that can be read: a part that is missing or invalid is left
 * out.
 */
export function decodeOwnAttributes(
  { annotations }: Pick<KubeNodeMetadata, "annotations">,
  { names, families }: NodeRules,
): LeaseAttributes {
  const addressOf = (family: Family) => {
    const address = readAddress(annotations, names.publicAddress[family], family);
    return address === "invalid" ? undefined : address;
  };
  const dataOf = (family: Family) => {
    const data = readData(annotations, names.backendData[family]);
    return "problem" in data ? undefined : data.value;
  };
  return {
    publicAddresses: mapFamilies(families, (_, family) => addressOf(family)),
    backendType: valueOf(annotations, names.backendType) ?? "",
    backendData: mapFamilies(families, (_, family) => dataOf(family)),
  };
}

/**
 * The prefixes of `spec.podCIDRs`, without host bits; otherwise why they cannot be read, to follow
 * "ignoring lease X: ".
 */
export function readPodCidrs(podCidrs: readonly string[]): PerFamily<Prefix> | string {
  const subnets: { 4?: Prefix; 6?: Prefix } = {};
  for (const text of podCidrs) {
    const prefix = parsePrefixMasked(text);
    if (prefix === undefined) return `its pod CIDR ${quoted(text)} is not an IP prefix`;
    const family = familyOf(prefix);
    if (subnets[family] !== undefined) {
      const other = subnets[family];
      return `its pod CIDRs ${other} and ${prefix} are both IPv${family}; a node has one of each ` +
        "family at most";
    }
    subnets[family] = prefix;
  }
  return subnets;
}

/** When the node was created, and when one of the annotations last changed; in milliseconds. */
export function agesOf(
  { createdMs, managedFields }: KubeNodeMetadata,
  names: AnnotationNames,
): { readonly created: bigint; readonly changed: bigint } {
  const ours = new Set([
    names.managed,
    names.backendType,
    ...Object.values(names.backendData),
    ...Object.values(names.publicAddress),
  ]);
  let changedMs = createdMs;
  for (const { timeMs, annotations } of managedFields) {
    if (timeMs === undefined || timeMs <= changedMs) continue;
    if (annotations.some((name) => ours.has(name))) changedMs = timeMs;
  }
  return { created: BigInt(createdMs), changed: BigInt(changedMs) };
}

/** As in Go flannel, not anchored at the start: the API server checks the rest. */
const PREFIX = /(?:[a-z0-9_-]+\.)+[a-z0-9_-]+\/(?:[a-z0-9_-]+-)?$/;

/** Go flannel writes those of IPv4 without IPv4, too, with an unspecified address. */
function writesFamily(
  { backendData, publicAddresses }: LeaseAttributes,
  family: Family,
  { onlyWithData = [] }: AnnotationFormat,
): boolean {
  if (onlyWithData.includes(family)) return backendData[family] !== undefined;
  return family === 4 || publicAddresses[family] !== undefined;
}

/** The text for a backend that has no data: JSON's `null`, or what no command has printed. */
function emptyData({ hasSharedData = false }: AnnotationFormat, family: Family): string {
  return hasSharedData && family === 4 ? "" : "null";
}

/** The other nodes would ignore a node with an address at which nodes cannot be reached. */
function readOverwrite(
  annotations: Annotations,
  family: Family,
  { names, config }: Pick<NodeRules, "names"> & PublicAddressRule,
): { readonly address?: IpAddress; readonly text?: string; readonly problem?: string } | undefined {
  const name = names.overwrite[family];
  const text = valueOf(annotations, name);
  if (text === undefined || text === "") return undefined;
  const address = parseIpAddress(text);
  const defect = address !== undefined && familyOf(address) === family
    ? publicAddressDefect(address, family, { config })
    : `not an IPv${family} address`;
  if (address !== undefined && defect === undefined) return { address, text };
  return {
    problem: `annotation ${name} is ${quoted(text)}, ${defect}; publishing this node's own ` +
      "address until it is corrected or removed",
  };
}

function decodeAttributes(
  annotations: Annotations,
  { names, families, format }: NodeRules,
): LeaseAttributes | string {
  const publicAddresses: { 4?: IpAddress; 6?: IpAddress } = {};
  const backendData: { 4?: unknown; 6?: unknown } = {};
  const backendType = valueOf(annotations, names.backendType) ?? "";
  for (const family of familiesOf(families)) {
    const name = names.publicAddress[family];
    const address = readAddress(annotations, name, family);
    if (address === undefined) return `it has no annotation ${name}`;
    if (address === "invalid") {
      const text = quoted(valueOf(annotations, name));
      return `its annotation ${name} is ${text}, not an IPv${family} address`;
    }
    publicAddresses[family] = address;
  }
  for (const family of dataFamilies(format, families)) {
    const data = readData(annotations, names.backendData[family]);
    if ("problem" in data) return data.problem;
    if (data.value !== undefined) backendData[family] = data.value;
  }
  return { publicAddresses, backendType, backendData };
}

/** The families whose annotations hold data. */
function dataFamilies(
  { hasSharedData = false }: AnnotationFormat,
  families: PerFamily<unknown>,
): readonly Family[] {
  const enabled = familiesOf(families);
  return hasSharedData && !enabled.includes(4) ? [4, ...enabled] : enabled;
}

function readAddress(
  annotations: Annotations,
  name: string,
  family: Family,
): IpAddress | "invalid" | undefined {
  const text = valueOf(annotations, name);
  if (text === undefined) return undefined;
  const address = parseIpAddress(text);
  return address !== undefined && familyOf(address) === family ? address : "invalid";
}

function readData(
  annotations: Annotations,
  name: string,
): { readonly value: unknown } | { readonly problem: string } {
  const text = valueOf(annotations, name);
  if (text === undefined || text === "") return { value: undefined };
  const excess = jsonLimitProblem(text, LEASE_LIMITS);
  if (excess !== undefined) return { problem: `its annotation ${name} ${excess}` };
  try {
    return { value: JSON.parse(text) ?? undefined };
  } catch {
    return { problem: `its annotation ${name} is not JSON` };
  }
}
