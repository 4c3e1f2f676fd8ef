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
  ["a JSON list", Buffer.from("{}  ")],
  ["a part without end", Buffer.from("k8s\0\x0a\xff\xff\xff\x7f", "latin1")],
  ["a number without end", Buffer.from("k8s\0" + "\xff".repeat(11), "latin1")],
])("%s is refused", (_what, bytes) => {
  expect(() => new ProtobufNodeList().push(bytes)).toThrow(MalformedObject);
});
