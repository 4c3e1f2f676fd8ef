/** A list of nodes in Kubernetes' protobuf encoding, from bytes in any pieces. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { MalformedObject } from "../../../src/kube/malformed_object.ts";
import { decodeListedNode } from "../../../src/kube/node_decoding.ts";
import { ProtobufNodeList } from "../../../src/kube/protobuf_node_list.ts";
import { decodedNode, nodeJson } from "../../support/kube_objects.ts";
import { message, nodeListProtobuf } from "../../support/kube_protobuf.ts";

const NAMES = ["a", "b", "ü"];
const BYTES = nodeListProtobuf({
  resourceVersion: "100",
  continueToken: "t&1",
  nodes: NAMES.map((name) => nodeJson(name)),
});

function listedNode(name: string) {
  const { conditions: _, ...listed } = decodedNode(name);
  return listed;
}

/** Pushes bytes in pieces of these sizes, in turn. */
function read(bytes: Uint8Array, sizes: readonly number[]) {
  const list = new ProtobufNodeList();
  const nodes: unknown[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    nodes.push(...list.push(bytes.subarray(at, at + size)));
    at += size;
  }
  return { list, nodes };
}

test("nodes are those that JSON has, however the bytes are cut", () => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 20 }),
    (sizes) => {
      const { list, nodes } = read(BYTES, sizes);
      expect(nodes.map(decodeListedNode)).toEqual(NAMES.map(listedNode));
      expect(list.resourceVersion).toBe("100");
      expect(list.continueToken).toBe("t&1");
      expect(list.isComplete).toBe(true);
    },
  ));
});

test("a node is there as soon as its last byte is", () => {
  const list = new ProtobufNodeList();
  const counts = [...BYTES].map((byte) => list.push(Uint8Array.of(byte)).length);
  expect(counts.filter((count) => count > 0)).toEqual([1, 1, 1]);
  expect(list.isComplete).toBe(true);
});

test("a list without nodes is complete, and one that is cut is not", () => {
  const empty = nodeListProtobuf({ resourceVersion: "5", nodes: [] });
  const { list, nodes } = read(empty, [1000]);
  expect(nodes).toEqual([]);
  expect(list.resourceVersion).toBe("5");
  expect(list.isComplete).toBe(true);
  // The last four bytes are after the list: an encoding and a media type, both empty.
  for (let end = 0; end < empty.length - 4; end++) {
    expect(read(empty.subarray(0, end), [7]).list.isComplete).toBe(false);
  }
});

test("a node of more than 64 kB is read, in pieces or at once, and those after it", () => {
  const large = (bytes: number) => nodeJson("large", { annotations: { text: "x".repeat(bytes) } });
  for (const bytes of [65_000, 65_536, 200_000]) {
    const nodes = [nodeJson("a"), large(bytes), nodeJson("b")];
    const list = nodeListProtobuf({ resourceVersion: "1", nodes });
    for (const size of [1000, 65_536, list.length]) {
      const listed = read(list, [size]).nodes.map(decodeListedNode);
      expect(listed.map(({ name }) => name)).toEqual(["a", "large", "b"]);
      expect(listed[1]?.annotations["text"]).toHaveLength(bytes);
    }
  }
});

test("before anything has arrived, a list is empty and not complete", () => {
  const { resourceVersion, continueToken, isComplete } = new ProtobufNodeList();
  expect({ resourceVersion, continueToken, isComplete })
    .toEqual({ resourceVersion: "", continueToken: "", isComplete: false });
  const bytes = nodeListProtobuf({ resourceVersion: "5", nodes: [nodeJson("a")] });
  expect(read(bytes, [9]).list.continueToken).toBe("");
});

test("a node without annotations, managers and pod CIDRs has none", () => {
  const metadata = message([[1, "a"], [5, "u"], [6, "7"], [8, message([[1, 1000]])]]);
  const list = message([[1, message([[2, "7"]])], [2, message([[1, metadata]])]]);
  const bytes = Buffer.concat([Buffer.from("k8s\0"), message([[2, list]])]);
  const [node] = read(bytes, [1000]).nodes.map(decodeListedNode);
  expect(node).toEqual({
    name: "a",
    uid: "u",
    resourceVersion: "7",
    createdMs: 1_000_000,
    annotations: {},
    managedFields: [],
    podCidrs: [],
  });
});

test("what is missing or unknown in a node's messages is left out", () => {
  const time = (seconds: number) => message([[1, seconds], [2, 5]]);
  const fields = (text: string) => message([[2, "x"], [1, text]]);
  const manager = message([
    [1, "m"],
    [2, "Update"],
    [4, time(2000)],
    [7, fields('{"f:metadata":{"f:annotations":{"f:a":{}}}}')],
  ]);
  const metadata = message([
    [1, "a"],
    [2, "x"],
    [5, "u"],
    [6, "7"],
    [8, time(1000)],
    [11, message([[1, "label"], [2, "x"]])],
    [12, message([[1, "empty"]])],
    [12, message([[2, "x"]])],
    [12, message([[1, "k"], [2, "v"], [3, "x"]])],
    [17, manager],
    [17, message([[1, "broken"], [7, fields('{"f:annotations"')]])],
    [17, message([[1, "none"]])],
  ]);
  const read = (spec: Uint8Array) => {
    const node = message([[1, metadata], [2, spec], [4, "x"]]);
    const list = message([[1, message([[2, "7"], [4, 1]])], [2, node]]);
    const bytes = Buffer.concat([Buffer.from("k8s\0"), message([[2, list]])]);
    const decoder = new ProtobufNodeList();
    const [first] = decoder.push(bytes).map(decodeListedNode);
    return { ...first, continueToken: decoder.continueToken };
  };
  const spec = message([[1, "10.1.0.0/24"], [3, "example:///1"]]);
  expect(read(spec)).toEqual({
    name: "a",
    uid: "u",
    resourceVersion: "7",
    createdMs: 1_000_000,
    continueToken: "",
    annotations: { empty: "", "": "x", k: "v" },
    managedFields: [
      { manager: "m", timeMs: 2_000_000, annotations: ["a"] },
      { manager: "broken", timeMs: undefined, annotations: [] },
      { manager: "none", timeMs: undefined, annotations: [] },
    ],
    podCidrs: ["10.1.0.0/24"],
  });
  const cidrs = message([[7, "10.1.0.0/24"], [3, "example:///1"], [7, "fd00::/64"]]);
  expect(read(cidrs).podCidrs).toEqual(["10.1.0.0/24", "fd00::/64"]);
});

test("annotations are plain data, whatever their names", () => {
  const annotations = JSON.parse('{"__proto__":"x","constructor":"y"}');
  const node = nodeJson("a", { annotations });
  const { nodes } = read(nodeListProtobuf({ resourceVersion: "1", nodes: [node] }), [50]);
  expect(Object.entries(decodeListedNode(nodes[0]).annotations))
    .toEqual([["__proto__", "x"], ["constructor", "y"]]);
});

test("unknown fields of each type are skipped", () => {
  const fixed = Uint8Array.of(0x99, 0x06, ...new Array(8).fill(1), 0x9d, 0x06, 1, 1, 1, 1);
  const list = Buffer.concat([fixed, message([[1, message([[2, "7"]])], [300, "x"], [301, 2]])]);
  const bytes = Buffer.concat([Buffer.from("k8s\0"), message([[2, list]])]);
  const { list: { resourceVersion, isComplete } } = read(bytes, [3]);
  expect({ resourceVersion, isComplete }).toEqual({ resourceVersion: "7", isComplete: true });
});

test("anything else is a MalformedObject, or ends early", () => {
  const changed = fc.tuple(fc.nat(BYTES.length - 1), fc.integer({ min: 0, max: 255 }));
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.uint8Array({ maxLength: 200 }).map((rest) => Buffer.concat([Buffer.from("k8s\0"), rest])),
    fc.array(changed, { minLength: 1, maxLength: 5 }).map((changes) => {
      const copy = BYTES.slice();
      for (const [at, byte] of changes) copy[at] = byte;
      return copy;
    }),
  );
  fc.assert(
    fc.property(bytes, (garbage) => {
      try {
        for (const node of read(garbage, [64]).nodes) decodeListedNode(node);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedObject);
      }
    }),
    { numRuns: 3000 },
  );
});

test.each([
  ["a JSON list", Buffer.from("{}  "), "the list does not begin as Kubernetes' protobuf encoding"],
  ["another encoding", Buffer.from("k8s\x01"), "the list does not begin as Kubernetes' protobuf"],
  [
    "a part without end",
    Buffer.from("k8s\0\x0a\xff\xff\xff\x7f", "latin1"),
    "a part of the list has more than 8388608 bytes",
  ],
  [
    "a number without end",
    Buffer.from("k8s\0" + "\xff".repeat(11), "latin1"),
    "a number in a message has more than 10 bytes",
  ],
])("%s is refused", (_what, bytes, reason) => {
  expect(() => new ProtobufNodeList().push(bytes)).toThrow(MalformedObject);
  expect(() => new ProtobufNodeList().push(bytes)).toThrow(reason);
});
