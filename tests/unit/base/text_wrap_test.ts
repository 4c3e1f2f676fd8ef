import { expect, test } from "bun:test";
import fc from "fast-check";
import { wrapLines } from "../../../src/base/text_wrap.ts";

test("lines are as long as the width allows, and joined they are the text", () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1 });
  fc.assert(fc.property(words, fc.integer({ min: 1, max: 30 }), (words, width) => {
    const lines = wrapLines(words.join(" "), width);
    expect(lines.join(" ")).toBe(words.join(" "));
    for (const [index, line] of lines.entries()) {
      expect(line.length <= width || !line.includes(" ")).toBe(true);
      const [next] = lines[index + 1]?.split(" ") ?? [];
      if (next !== undefined) expect(line.length + 1 + next.length).toBeGreaterThan(width);
    }
  }));
});

test("long words are broken only on request", () => {
  expect(wrapLines("a abcdefgh b", 4)).toEqual(["a", "abcdefgh", "b"]);
  expect(wrapLines("a abcdefgh b", 4, "break")).toEqual(["a", "abcd", "efgh", "b"]);
  expect(wrapLines("abcdef b", 4, "break")).toEqual(["abcd", "ef b"]);
});

test("an empty text is one empty line", () => {
  expect(wrapLines("", 10)).toEqual([""]);
});
