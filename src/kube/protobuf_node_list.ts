/**
 * A list of nodes in Kubernetes' protobuf encoding, node by node as its bytes arrive. The status,
 * of which most of a node consists, is skipped, and the server needs a third of the time that it
 * needs for JSON. https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
 *
 * The numbers of fields are those of the files generated.proto of k8s.io/api/core/v1,
 * k8s.io/apimachinery/pkg/apis/meta/v1 and k8s.io/apimachinery/pkg/runtime.
 */

import type { JsonObject } from "../base/json_object.ts";
import { MalformedObject } from "./malformed_object.ts";
import { ProtobufFields } from "./protobuf_fields.ts";

export const PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf";

export class ProtobufNodeList {
  /** Empty until it has arrived, which is before the first node. */
  resourceVersion = "";
  /** For the next page; empty on the last one. */
  continueToken = "";
  /** What has arrived and was not read yet is at its beginning. */
  #buffer = Buffer.alloc(64 * 1024);
  #bytes = 0;
  /** How many bytes the next step takes. */
  #needed = MAGIC.length;
  #isMagicRead = false;
  /** Bytes of the list that have not been read, once its length is known. */
  #left: number | undefined;

  /** Whether the list has arrived to its end. */
  get isComplete(): boolean {
    return this.#left === 0;
  }

  /**
   * The nodes that end in this piece: as JSON would have them, with the members that the daemon
   * uses. Throws `MalformedObject`.
   */
  push(piece: Uint8Array): JsonObject[] {
    this.#keep(piece);
    if (this.#bytes < this.#needed) return [];
    const nodes: JsonObject[] = [];
    const end = this.#read(this.#buffer.subarray(0, this.#bytes), nodes);
    this.#buffer.copyWithin(0, end, this.#bytes);
    this.#bytes -= end;
    return nodes;
  }

  #keep(piece: Uint8Array): void {
    const bytes = this.#bytes + piece.length;
    if (bytes > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(bytes, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.#bytes));
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#bytes);
    this.#bytes = bytes;
  }

  /** Returns where the first field begins that has not arrived to its end. */
  #read(bytes: Buffer, nodes: JsonObject[]): number {
    let offset = 0;
    if (!this.#isMagicRead) offset = this.#readMagic(bytes);
    for (;;) {
      if (this.isComplete) return bytes.length;
      const field = ProtobufFields.at(bytes, offset);
      if (field?.number === RAW && this.#left === undefined) {
        this.#left = field.end - field.start;
        offset = field.start;
        continue;
      }
      this.#needed = field === undefined ? bytes.length - offset + 1 : field.end - offset;
      if (this.#needed > MAX_FIELD_BYTES) {
        throw new MalformedObject(`a part of the list has more than ${MAX_FIELD_BYTES} bytes`);
      }
      if (field === undefined || field.end > bytes.length) return offset;
      if (this.#left !== undefined) {
        this.#readField(field, nodes);
        this.#left -= field.end - offset;
      }
      offset = field.end;
    }
  }

  #readMagic(bytes: Uint8Array): number {
    if (MAGIC.some((byte, i) => bytes[i] !== byte)) {
      throw new MalformedObject("the list does not begin as Kubernetes' protobuf encoding does");
    }
    this.#isMagicRead = true;
    return MAGIC.length;
  }

  /** Of a NodeList. */
  #readField(field: ProtobufFields, nodes: JsonObject[]): void {
    if (field.number === 2) nodes.push(readNode(field.fields()));
    if (field.number !== 1) return;
    const metadata = field.fields();
    while (metadata.next()) {
      if (metadata.number === 2) this.resourceVersion = metadata.text();
      else if (metadata.number === 3) this.continueToken = metadata.text();
    }
  }
}

/** `k8s` and a zero byte; a runtime.Unknown follows. */
const MAGIC = [0x6b, 0x38, 0x73, 0x00];
/** The field of a runtime.Unknown that is the list. */
const RAW = 2;
/** An API server limits an object to 3 MB, the size of a request. */
const MAX_FIELD_BYTES = 8 * 1024 * 1024;

function readNode(fields: ProtobufFields): JsonObject {
  const node: { metadata?: JsonObject; spec?: JsonObject } = {};
  while (fields.next()) {
    if (fields.number === 1) node.metadata = readMetadata(fields.fields());
    else if (fields.number === 2) node.spec = readSpec(fields.fields());
  }
  return node;
}

function readMetadata(fields: ProtobufFields): JsonObject {
  const metadata: { [member: string]: unknown } = {};
  const annotations: [string, string][] = [];
  const managedFields: JsonObject[] = [];
  while (fields.next()) {
    switch (fields.number) {
      case 1:
        metadata["name"] = fields.text();
        break;
      case 5:
        metadata["uid"] = fields.text();
        break;
      case 6:
        metadata["resourceVersion"] = fields.text();
        break;
      case 8:
        metadata["creationTimestamp"] = readTime(fields.fields());
        break;
      case 12:
        annotations.push(readMapEntry(fields.fields()));
        break;
      case 17:
        managedFields.push(readManager(fields.fields()));
        break;
    }
  }
  // Their names are from outside: `__proto__` is a member like any other.
  metadata["annotations"] = Object.fromEntries(annotations);
  metadata["managedFields"] = managedFields;
  return metadata;
}

function readSpec(fields: ProtobufFields): JsonObject {
  const podCIDRs: string[] = [];
  let podCIDR = "";
  while (fields.next()) {
    if (fields.number === 1) podCIDR = fields.text();
    else if (fields.number === 7) podCIDRs.push(fields.text());
  }
  return { podCIDR, podCIDRs };
}

function readManager(fields: ProtobufFields): JsonObject {
  const entry: { [member: string]: unknown } = {};
  while (fields.next()) {
    if (fields.number === 1) entry["manager"] = fields.text();
    else if (fields.number === 4) entry["time"] = readTime(fields.fields());
    else if (fields.number === 7) entry["fieldsV1"] = readFieldsV1(fields.fields());
  }
  return entry;
}

/** JSON, of which only what is said about annotations is used. */
function readFieldsV1(fields: ProtobufFields): unknown {
  while (fields.next()) {
    if (fields.number !== 1) continue;
    const text = fields.text();
    if (!text.includes('"f:annotations"')) return undefined;
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** Whole seconds, as JSON has them. */
function readTime(fields: ProtobufFields): string | undefined {
  while (fields.next()) {
    if (fields.number !== 1) continue;
    const ms = fields.varint() * 1000;
    return ms <= MAX_TIME_MS ? new Date(ms).toISOString() : undefined;
  }
  return undefined;
}

/** The end of what a `Date` can be. */
const MAX_TIME_MS = 8.64e15;

function readMapEntry(fields: ProtobufFields): [key: string, value: string] {
  let [key, value] = ["", ""];
  while (fields.next()) {
    if (fields.number === 1) key = fields.text();
    else if (fields.number === 2) value = fields.text();
  }
  return [key, value];
}
