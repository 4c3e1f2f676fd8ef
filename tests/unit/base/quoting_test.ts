import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { escaped, printableName, quoted } from "../../../src/base/quoting.ts";

const RIGHT_TO_LEFT = "\u202e";
const LINE_SEPARATOR = "\u2028";
const HALF = "\ud83d";

const anyUnit = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code));

describe("text from outside", () => {
  test("cannot end a line, control a terminal or reverse the text", () => {
    expect(escaped(`a\r\n\x1b[31m${LINE_SEPARATOR}b${RIGHT_TO_LEFT}c\u2066\x7f\x9b${HALF}`)).toBe(
      "a\\r\\n\\u001b[31m\\u2028b\\u202ec\\u2066\\u007f\\u009b\\ud83d",
    );
    expect(escaped("Zürich 東京 🙂")).toBe("Zürich 東京 🙂");
  });

  test("is quoted as JSON and truncated, with closed quotes", () => {
    expect(quoted("vxlan")).toBe('"vxlan"');
    expect(quoted('a"b')).toBe('"a\\"b"');
    expect(quoted(undefined)).toBe("undefined");
    expect(quoted({ VNI: 1 })).toBe('{"VNI":1}');
    expect(quoted("x".repeat(1_400_000))).toBe(`"${"x".repeat(60)}…"`);
    expect(quoted("x".repeat(5), 3)).toBe('"xxx…"');
    expect(quoted([1, 2, 3], 4)).toBe("[1,2…");
    expect(printableName(`10.5.2.0-24${"\n"}${"x".repeat(100)}`)).toBe(
      `10.5.2.0-24\\n${"x".repeat(68)}…`,
    );
  });

  test("is quoted even if it has no JSON", () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    expect(quoted(cycle)).toBe("[…]");
    expect(quoted({ cycle })).toBe("{…}");
    expect(quoted(1n)).toBe("1");
    expect(quoted(JSON.parse("1e999"))).toBe("Infinity");
    expect(quoted(1.5)).toBe("1.5");
  });

  test("is always printable and short", () => {
    fc.assert(
      fc.property(fc.string({ unit: anyUnit, maxLength: 200 }), (text) => {
        for (const result of [quoted(text), printableName(text), quoted({ text })]) {
          expect(result).not.toMatch(/[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/u);
          expect(result.length).toBeLessThan(600);
        }
      }),
    );
  });
});
