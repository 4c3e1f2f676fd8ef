import { expect, test } from "bun:test";
import fc from "fast-check";
import { DatastoreError } from "../../../src/datastore/mvcc/datastore_error.ts";
import { dumpText, parseDump } from "../../../src/datastore/transfer/dump_text.ts";
import { bytes } from "./fixture.ts";

const DUMP = {
  revision: 52n,
  leases: [{ id: 0x1an, remainingSeconds: 86_012n }, { id: -2n, remainingSeconds: 1n }],
  entries: [
    { key: bytes("/net/config"), value: bytes('{"Network":"10.5.0.0/16"}'), lease: 0n },
    { key: bytes("/net/subnets/ü"), value: Uint8Array.of(0xff, 0), lease: 0x1an },
    { key: Uint8Array.of(0xfe), value: bytes(""), lease: -2n },
  ],
};
const TEXT = `{"flanneldDatastore":1,"revision":"52"}
{"lease":"1a","remainingSeconds":"86012"}
{"lease":"fffffffffffffffe","remainingSeconds":"1"}
{"key":"/net/config","value":"{\\"Network\\":\\"10.5.0.0/16\\"}"}
{"key":"/net/subnets/ü","valueBase64":"/wA=","lease":"1a"}
{"keyBase64":"/g==","value":"","lease":"fffffffffffffffe"}
{"end":true,"leases":2,"keys":3}
`;

test("a dump has one JSON object per line, with readable text", () => {
  expect(dumpText(DUMP)).toBe(TEXT);
  expect(parseDump(TEXT)).toEqual(DUMP);
});

test("every key and value survives a round trip", () => {
  const anyBytes = fc.uint8Array({ maxLength: 8 });
  fc.assert(fc.property(fc.array(fc.tuple(anyBytes, anyBytes)), (pairs) => {
    const entries = pairs.map(([key, value]) => ({ key, value, lease: 0n }));
    const dump = { revision: 1n, leases: [], entries };
    expect(parseDump(dumpText(dump))).toEqual(dump);
  }));
});

test("an incomplete dump, or other text, is rejected with the reason", () => {
  const lines = TEXT.split("\n");
  const without = (index: number) => lines.toSpliced(index, 1).join("\n");
  const cases: [text: string, reason: string][] = [
    ["", "not a flanneld export: unexpected header"],
    ["hello", "line 1 of the export is not a JSON object"],
    [without(0), "not a flanneld export: unexpected header"],
    [without(6), "incomplete export: the last line"],
    [without(4), "incomplete export: the last line"],
    [TEXT.replace('"1a","rem', '"1b","rem'), "incomplete export: lease 1a of a key is missing"],
    [TEXT.replace('"86012"', '"-1"'), 'line 2 of the export: invalid remainingSeconds "-1"'],
    [TEXT.replace('"/wA="', '"?"'), "line 5 of the export: valueBase64 is not base64"],
    [TEXT.replace('"key":"/net/config",', ""), "line 4 of the export has no key"],
  ];
  for (const [text, reason] of cases) {
    expect(() => parseDump(text)).toThrow(DatastoreError);
    expect(() => parseDump(text)).toThrow(reason);
  }
});

test("every invalid text throws a DatastoreError", () => {
  fc.assert(fc.property(fc.array(fc.oneof(fc.json(), fc.string())), (lines) => {
    const text = [TEXT.split("\n")[0], ...lines].join("\n");
    try {
      parseDump(text);
    } catch (error) {
      expect(error).toBeInstanceOf(DatastoreError);
    }
  }));
});
