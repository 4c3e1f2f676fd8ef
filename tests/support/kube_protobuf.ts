/** A list of nodes in the protobuf encoding of a kube-apiserver. */

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { ApiObject } from "./kube_objects.ts";

export function nodeListProtobuf(
  { resourceVersion, continueToken = "", nodes }: {
    readonly resourceVersion: string;
    readonly continueToken?: string;
    readonly nodes: readonly ApiObject[];
  },
): Uint8Array {
  const metadata = message([[1, ""], [2, resourceVersion], [3, continueToken]]);
  const list = message([[1, metadata], ...nodes.map((node): Part => [2, nodeMessage(node)])]);
  const type = message([[1, "v1"], [2, "NodeList"]]);
  const unknown = message([[1, type], [2, list], [3, ""], [4, ""]]);
  return Buffer.concat([Buffer.from("k8s\0"), unknown]);
}

type Part = readonly [number: number, value: string | Uint8Array | number];

/** Each part as a field: a text, a message, or a number. */
export function message(parts: readonly Part[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const [number, value] of parts) {
    if (typeof value === "number") writer.tag(number, WireType.Varint).int64(value);
    else if (typeof value === "string") writer.tag(number, WireType.LengthDelimited).string(value);
    else writer.tag(number, WireType.LengthDelimited).bytes(value);
  }
  return writer.finish();
}

function nodeMessage(node: ApiObject): Uint8Array {
  const { podCIDR = "", podCIDRs = [] } = node["spec"] as {
    podCIDR?: string;
    podCIDRs?: readonly string[];
  };
  const spec = message([[1, podCIDR], ...podCIDRs.map((cidr): Part => [7, cidr])]);
  const image = message([[1, "registry/image@sha256:1"], [2, 1]]);
  return message([[1, metadataMessage(node.metadata)], [2, spec], [3, message([[8, image]])]]);
}

function metadataMessage(metadata: ApiObject["metadata"]): Uint8Array {
  const { name, uid, resourceVersion, creationTimestamp, labels, annotations, managedFields } =
    metadata as { readonly [member: string]: string } & {
      readonly labels: Readonly<Record<string, string>>;
      readonly annotations: Readonly<Record<string, string>>;
      readonly managedFields: readonly ManagedFields[];
    };
  const map = (number: number, entries: Readonly<Record<string, string>>) =>
    Object.entries(entries).map(([key, value]): Part => [number, message([[1, key], [2, value]])]);
  return message([
    ...[[1, name], [2, ""], [5, uid], [6, resourceVersion], [7, 0]] as Part[],
    [8, timeMessage(creationTimestamp as string)],
    ...map(11, labels),
    ...map(12, annotations),
    ...managedFields.map((entry): Part => [17, managerMessage(entry)]),
  ]);
}

interface ManagedFields {
  readonly manager: string;
  readonly time: string;
  readonly fieldsV1: object;
}

function managerMessage({ manager, time, fieldsV1 }: ManagedFields): Uint8Array {
  return message([
    ...[[1, manager], [2, "Update"], [3, "v1"]] as Part[],
    [4, timeMessage(time)],
    [7, message([[1, JSON.stringify(fieldsV1)]])],
  ]);
}

function timeMessage(time: string): Uint8Array {
  return message([[1, Date.parse(time) / 1000], [2, 0]]);
}
