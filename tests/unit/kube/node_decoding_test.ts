/** What is read from the API server's JSON, which may be anything. */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  decodeListedNode,
  decodeListPage,
  decodeNode,
  decodeNodeMetadata,
  decodePod,
  decodeWatchLine,
  objectName,
} from "../../../src/kube/node_decoding.ts";
import { MalformedObject } from "../../../src/kube/malformed_object.ts";
import { decodedNode, nodeJson } from "../../support/kube_objects.ts";

test("a node keeps what the daemon uses", () => {
  expect(decodeNode(nodeJson("n1"))).toEqual(decodedNode("n1"));
});

test("a node may lack a podCIDR, annotations and conditions", () => {
  const { metadata: { name, uid, resourceVersion, creationTimestamp } } = nodeJson("n1");
  const metadata = { name, uid, resourceVersion, creationTimestamp };
  const empty = { ...decodedNode("n1"), annotations: {}, managedFields: [] };
  for (const rest of [{}, { spec: null, status: null }, { spec: {}, status: {} }]) {
    expect(decodeNode({ metadata, ...rest })).toEqual({ ...empty, podCidrs: [], conditions: [] });
  }
});

test("podCIDRs counts, or podCIDR alone", () => {
  const podCidrs = (spec: object) => decodeNode({ ...nodeJson("n1"), spec }).podCidrs;
  const dual = ["10.244.1.0/24", "fd00:1::/64"];
  expect(podCidrs({ podCIDR: dual[0], podCIDRs: dual })).toEqual(dual);
  expect(podCidrs({ podCIDR: dual[0] })).toEqual(["10.244.1.0/24"]);
  expect(podCidrs({ podCIDR: "", podCIDRs: [] })).toEqual([]);
});

test("annotations are plain data, whatever their names", () => {
  const json = JSON.stringify(nodeJson("n1", { annotations: { a: "1" } }))
    .replace('"a":"1"', '"__proto__":"x","constructor":"y"');
  const { annotations } = decodeNodeMetadata(JSON.parse(json));
  expect(Object.entries(annotations)).toEqual([["__proto__", "x"], ["constructor", "y"]]);
});

test("only annotations of a manager count, without the key of their map", () => {
  const fieldsV1 = { "f:metadata": { "f:annotations": { ".": {}, "f:a": {}, "f:f:b": {} } } };
  const entries = [
    { manager: "m", time: "2026-01-31T12:00:00Z", fieldsV1 },
    { manager: "kubelet", fieldsV1: { "f:status": {} } },
    {},
  ];
  const node = nodeJson("n1");
  const metadata = { ...node.metadata, managedFields: entries };
  expect(decodeNodeMetadata({ ...node, metadata }).managedFields).toEqual([
    { manager: "m", timeMs: Date.parse("2026-01-31T12:00:00Z"), annotations: ["a", "f:b"] },
    { manager: "kubelet", timeMs: undefined, annotations: [] },
    { manager: "", timeMs: undefined, annotations: [] },
  ]);
});

test("malformed managed fields are left out", () => {
  const { metadata } = nodeJson("n1");
  const known = { manager: "m", timeMs: undefined, annotations: [] };
  for (
    const [managedFields, decoded] of [
      [{}, []],
      ["x", []],
      [[{ manager: 1 }, { manager: "m" }, null, { time: "now" }], [known]],
    ]
  ) {
    expect(decodeNodeMetadata({ metadata: { ...metadata, managedFields } }).managedFields)
      .toEqual(decoded as never);
  }
});

describe("anything else", () => {
  const decoders = { decodeNode, decodeNodeMetadata, decodePod, decodeListPage, decodeWatchLine };

  test.each(Object.entries(decoders))("is a MalformedObject to %s", (_name, decode) => {
    fc.assert(fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      try {
        decode(value);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedObject);
        expect((error as Error).message.length).toBeLessThan(300);
      }
      expect(typeof objectName(value)).toBe("string");
    }));
  });

  test("in one member of a node is a MalformedObject, or does not matter", () => {
    const paths = pathsOf(nodeJson("n1"));
    const garbage = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constant(1e999));
    fc.assert(
      fc.property(fc.constantFrom(...paths), garbage, (path, value) => {
        const node = structuredClone(nodeJson("n1"));
        set(node as unknown as Tree, path, value);
        try {
          const decoded = decodeNode(node);
          expect(decoded.uid).not.toBe("");
          expect(decoded.createdMs).toBeFinite();
          for (const one of Object.values(decoded.annotations)) expect(one).toBeString();
          for (const one of decoded.podCidrs) expect(one).toBeString();
        } catch (error) {
          if (!(error instanceof MalformedObject)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

type Tree = { [member: string]: unknown };

function pathsOf(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [[...path]];
  const inner = Object.entries(value).flatMap(([key, one]) => pathsOf(one, [...path, key]));
  return path.length === 0 ? inner : [[...path], ...inner];
}

function set(tree: Tree, [first = "", ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) tree[first] = value;
  else set(tree[first] as Tree, rest, value);
}

const METADATA = nodeJson("a").metadata;

test.each<[(value: unknown) => unknown, unknown, string]>([
  [decodeNode, 1, "the object is 1, not an object"],
  [decodeNode, { metadata: METADATA, status: 1 }, "status is 1, not an object"],
  [
    decodeNode,
    { metadata: METADATA, status: { conditions: 1 } },
    "status.conditions is 1, not an array",
  ],
  [decodeListedNode, { metadata: METADATA, spec: 1 }, "spec is 1, not an object"],
  [
    decodeListedNode,
    { metadata: METADATA, spec: { podCIDRs: 1 } },
    "spec.podCIDRs is 1, not an array",
  ],
  [
    decodeListedNode,
    { metadata: METADATA, spec: { podCIDRs: [1] } },
    "spec.podCIDRs is 1, not a string",
  ],
  [
    decodeListedNode,
    { metadata: METADATA, spec: { podCIDR: 1 } },
    "spec.podCIDR is 1, not a string",
  ],
  [decodeNodeMetadata, 1, "the object is 1, not an object"],
  [decodeNodeMetadata, { metadata: 1 }, "metadata is 1, not an object"],
  [decodeNodeMetadata, { metadata: { ...METADATA, name: "" } }, "metadata.name is missing"],
  [decodeNodeMetadata, { metadata: { ...METADATA, uid: 1 } }, "metadata.uid is 1, not a string"],
  [
    decodeNodeMetadata,
    { metadata: { ...METADATA, resourceVersion: null } },
    "metadata.resourceVersion is missing",
  ],
  [
    decodeNodeMetadata,
    { metadata: { ...METADATA, creationTimestamp: "soon" } },
    'metadata.creationTimestamp is "soon", not a time',
  ],
  [
    decodeNodeMetadata,
    { metadata: { ...METADATA, annotations: 1 } },
    "metadata.annotations is 1, not an object",
  ],
  [decodePod, 1, "the object is 1, not an object"],
  [decodePod, { spec: 1 }, "spec is 1, not an object"],
  [decodePod, { spec: { nodeName: 1 } }, "spec.nodeName is 1, not a string"],
  [decodeListPage, 1, "the list is 1, not an object"],
  [decodeListPage, { metadata: 1 }, "metadata is 1, not an object"],
  [decodeListPage, { metadata: {} }, "metadata.resourceVersion is missing"],
  [
    decodeListPage,
    { metadata: { resourceVersion: "1", continue: 1 } },
    "metadata.continue is 1, not a string",
  ],
  [decodeListPage, { metadata: { resourceVersion: "1" }, items: 1 }, "items is 1, not an array"],
  [decodeWatchLine, 1, "the event is 1, not an object"],
  [decodeWatchLine, { type: "NEWS" }, 'the event has the unknown type "NEWS"'],
  [decodeWatchLine, { type: "BOOKMARK", object: 1 }, "object is 1, not an object"],
  [
    decodeWatchLine,
    { type: "BOOKMARK", object: { metadata: 1 } },
    "metadata is 1, not an object",
  ],
  [
    decodeWatchLine,
    { type: "BOOKMARK", object: { metadata: {} } },
    "metadata.resourceVersion is missing",
  ],
])("%p does not accept %p", (decode, value, message) => {
  expect(() => decode(value)).toThrow(MalformedObject);
  expect(() => decode(value)).toThrow(message);
});
