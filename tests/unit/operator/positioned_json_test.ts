import { expect, test } from "bun:test";
import fc from "fast-check";
import { parsePositionedJson, positionAt } from "../../../src/operator/positioned_json.ts";

function placeOf(text: string): string {
  const result = parsePositionedJson(text);
  if (!("problem" in result)) return "valid";
  const { line, column } = positionAt(text, result.offset);
  return `${line}:${column} ${result.problem}`;
}

test("the value is that of JSON.parse", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.constantFrom(0, 1, "\t"), (value, indentation) => {
    const text = JSON.stringify(value, null, indentation);
    expect(parsePositionedJson(text)).toMatchObject({ value: JSON.parse(text) });
  }));
});

test("what JSON.parse refuses is refused, and nothing else", () => {
  const piece = fc.oneof(
    fc.constantFrom("{", "}", "[", "]", ":", ",", '"a"', '"', "1", "-", "01", "1e5", ".5", "1."),
    fc.constantFrom("true", "nul", "null", " ", "\n", "\ufeff", "//", "'a'", '"\\u00e9"', '"\\x"'),
    fc.string(),
    fc.json(),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = pieces.join("");
      let expected: { readonly value: unknown } | undefined;
      try {
        expected = { value: JSON.parse(text) };
      } catch {
        expected = undefined;
      }
      const result = parsePositionedJson(text);
      if (expected === undefined) expect(result).toHaveProperty("problem");
      else expect(result).toMatchObject(expected);
    }),
    { numRuns: 3_000 },
  );
});

test("each member begins at its name, each value at its first character", () => {
  const text = '{ "a": 1,\n  "b": {"c": [2]}, "a": 3 }';
  const result = parsePositionedJson(text);
  if ("problem" in result) throw new Error(result.problem);
  const places = result.members.map(({ name, offset, value }) =>
    [name, positionAt(text, offset), text[value.offset]] as const
  );
  expect(places).toEqual([
    ["a", { line: 1, column: 3 }, "1"],
    ["b", { line: 2, column: 3 }, "{"],
    ["a", { line: 2, column: 20 }, "3"],
  ]);
  expect(result.members[1]?.value.members).toMatchObject([{ name: "c" }]);
  expect(result.value).toEqual({ a: 3, b: { c: [2] } });
});

test("a syntax error has a place, and shows no string, which may be a secret", () => {
  expect(placeOf("")).toBe("1:1 expected a value, found the end of the text");
  expect(placeOf('{"a": 1,\n}')).toBe('2:1 expected a name in double quotes, found "}"');
  expect(placeOf('{"a": 1\n "PSK": "x"}')).toBe("2:2 expected a comma or }, found a string");
  expect(placeOf("{'a': 1}")).toBe(`1:2 expected a name in double quotes, found "'"`);
  expect(placeOf('{"a" 1}')).toBe('1:6 expected a colon, found "1"');
  expect(placeOf("[1 2]")).toBe('1:4 expected a comma or ], found "2"');
  expect(placeOf("{} // x")).toBe('1:4 expected the end, found "/"');
  expect(placeOf("[".repeat(10_000))).toContain("nested too deeply");
});

test("a member named __proto__ is a member", () => {
  const result = parsePositionedJson('{"__proto__": {"x": 1}}');
  if ("problem" in result) throw new Error(result.problem);
  expect(Object.keys(result.value as object)).toEqual(["__proto__"]);
  expect((result.value as { x?: number }).x).toBeUndefined();
});
