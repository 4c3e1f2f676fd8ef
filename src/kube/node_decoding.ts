/**
 * Nodes, pods, lists and watch events from the API server's JSON. Every value is checked, and what
 * the daemon does not use is dropped: a node has 14 kB, of which it needs one.
 */

import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { quoted } from "../base/quoting.ts";
import type {
  KubeCondition,
  KubeListedNode,
  KubeManagedFields,
  KubeNode,
  KubeNodeMetadata,
  KubePod,
} from "./kube_api.ts";
import { MalformedObject } from "./malformed_object.ts";

/** A page of a list, with its items unread. */
export interface KubeListPage {
  readonly resourceVersion: string;
  /** For the next page; empty on the last one. */
  readonly continueToken: string;
  readonly items: readonly unknown[];
}

export type KubeWatchLine =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: unknown }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string }
  | { readonly type: "ERROR"; readonly object: unknown };

export function decodeNode(value: unknown): KubeNode {
  const status = optionalMembers(members(value, "the object")["status"], "status");
  return {
    ...decodeListedNode(value),
    conditions: items(status["conditions"], "status.conditions").map(decodeCondition),
  };
}

export function decodeListedNode(value: unknown): KubeListedNode {
  const spec = optionalMembers(members(value, "the object")["spec"], "spec");
  return { ...decodeNodeMetadata(value), podCidrs: decodePodCidrs(spec) };
}

/** Of a Node or a PartialObjectMetadata. */
export function decodeNodeMetadata(value: unknown): KubeNodeMetadata {
  const metadata = members(members(value, "the object")["metadata"], "metadata");
  const { managedFields } = metadata;
  return {
    name: requiredText(metadata["name"], "metadata.name"),
    uid: requiredText(metadata["uid"], "metadata.uid"),
    resourceVersion: requiredText(metadata["resourceVersion"], "metadata.resourceVersion"),
    createdMs: time(metadata["creationTimestamp"], "metadata.creationTimestamp"),
    annotations: texts(metadata["annotations"], "metadata.annotations"),
    // When it is read: most events of a watch change no annotation.
    get managedFields() {
      return decodeManagedFields(managedFields);
    },
  };
}

export function decodePod(value: unknown): KubePod {
  const spec = optionalMembers(members(value, "the object")["spec"], "spec");
  return { nodeName: text(spec["nodeName"], "spec.nodeName") };
}

export function decodeListPage(value: unknown): KubeListPage {
  const list = members(value, "the list");
  const metadata = members(list["metadata"], "metadata");
  return {
    resourceVersion: requiredText(metadata["resourceVersion"], "metadata.resourceVersion"),
    continueToken: text(metadata["continue"], "metadata.continue"),
    items: items(list["items"], "items"),
  };
}

export function decodeWatchLine(value: unknown): KubeWatchLine {
  const { type, object } = members(value, "the event");
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
    case "ERROR":
      return { type, object };
    case "BOOKMARK": {
      const { resourceVersion } = members(members(object, "object")["metadata"], "metadata");
      return { type, resourceVersion: requiredText(resourceVersion, "metadata.resourceVersion") };
    }
    default:
      throw new MalformedObject(`the event has the unknown type ${quoted(type)}`);
  }
}

/** The name of an object that cannot be read otherwise, for messages. */
export function objectName(value: unknown): string {
  const { metadata } = (value ?? {}) as { metadata?: { name?: unknown } | null };
  return typeof metadata?.name === "string" ? metadata.name : "without a name";
}

/** `podCIDRs` has all of them and `podCIDR` the first, in clusters since Kubernetes 1.16. */
function decodePodCidrs(spec: JsonObject): string[] {
  const all = items(spec["podCIDRs"], "spec.podCIDRs").map((one) => text(one, "spec.podCIDRs"));
  const first = text(spec["podCIDR"], "spec.podCIDR");
  return all.length > 0 || first === "" ? all : [first];
}

function decodeCondition(value: unknown): KubeCondition {
  const condition = members(value, "a condition");
  return {
    type: requiredText(condition["type"], "the type of a condition"),
    status: text(condition["status"], "the status of a condition"),
    reason: text(condition["reason"], "the reason of a condition"),
    message: text(condition["message"], "the message of a condition"),
  };
}

/** Leaves out malformed entries: they are a history, on which no lease depends. */
function decodeManagedFields(value: unknown): KubeManagedFields[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry) => {
    try {
      return decodeManager(entry);
    } catch (error) {
      if (error instanceof MalformedObject) return [];
      throw error;
    }
  });
}

/** https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management */
function decodeManager(value: unknown): KubeManagedFields {
  const entry = members(value, "an entry of metadata.managedFields");
  const fields = optionalMembers(entry["fieldsV1"], "fieldsV1");
  const metadata = optionalMembers(fields["f:metadata"], "f:metadata");
  const annotations = optionalMembers(metadata["f:annotations"], "f:annotations");
  return {
    manager: text(entry["manager"], "the manager of fields"),
    timeMs: isAbsent(entry["time"]) ? undefined : time(entry["time"], "the time of fields"),
    annotations: Object.keys(annotations).filter((name) => name.startsWith(FIELD))
      .map((name) => name.slice(FIELD.length)),
  };
}

const FIELD = "f:";

function members(value: unknown, place: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw malformed(value, place, "an object");
}

/** Go writes an absent value as nothing or as null. */
function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

function optionalMembers(value: unknown, place: string): JsonObject {
  return isAbsent(value) ? NO_MEMBERS : members(value, place);
}

const NO_MEMBERS: JsonObject = {};

function items(value: unknown, place: string): readonly unknown[] {
  if (isAbsent(value)) return [];
  if (Array.isArray(value)) return value;
  throw malformed(value, place, "an array");
}

function text(value: unknown, place: string): string {
  if (isAbsent(value)) return "";
  if (typeof value === "string") return value;
  throw malformed(value, place, "a string");
}

function requiredText(value: unknown, place: string): string {
  const given = text(value, place);
  if (given === "") throw new MalformedObject(`${place} is missing`);
  return given;
}

function texts(value: unknown, place: string): Readonly<Record<string, string>> {
  const map = optionalMembers(value, place);
  for (const key in map) {
    if (typeof map[key] !== "string") {
      throw malformed(map[key], `${place}[${quoted(key)}]`, "a string");
    }
  }
  return map as Readonly<Record<string, string>>;
}

/** RFC 3339, as `2026-01-31T12:00:00Z`. */
function time(value: unknown, place: string): number {
  const ms = Date.parse(requiredText(value, place));
  if (Number.isFinite(ms)) return ms;
  throw malformed(value, place, "a time");
}

function malformed(value: unknown, place: string, expected: string): MalformedObject {
  return new MalformedObject(`${place} is ${quoted(value)}, not ${expected}`);
}
