/** Lines from bytes in any pieces. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { WatchLines, WatchLineTooLong } from "../../../src/kube/watch_lines.ts";

const bytes = (text: string) => Buffer.from(text);

test("lines come out as they went in, however they are cut", () => {
  const line = fc.string({ unit: "grapheme" }).map((text) => text.replaceAll("\n", " "));
  fc.assert(fc.property(
    fc.array(line, { maxLength: 8 }),
    fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }),
    (lines, sizes) => {
      const splitter = new WatchLines({ maxLineBytes: 10_000 });
      const all = bytes(lines.map((one) => `${one}\n`).join(""));
      const seen: string[] = [];
      for (let at = 0, i = 0; at < all.length; i++) {
        const size = sizes[i % sizes.length] as number;
        seen.push(...splitter.push(all.subarray(at, at + size)));
        at += size;
      }
      expect(seen).toEqual(lines);
      expect(splitter.isInLine).toBe(false);
    },
  ));
});

test("an incomplete line is noticed", () => {
  const lines = new WatchLines({ maxLineBytes: 10 });
  expect([...lines.push(bytes("one\ntw"))]).toEqual(["one"]);
  expect(lines.isInLine).toBe(true);
  expect([...lines.push(bytes("o\n"))]).toEqual(["two"]);
  expect(lines.isInLine).toBe(false);
});

test("a line may have as many bytes as the limit, in one piece or in several", () => {
  const pieces = (...texts: string[]) => () => {
    const lines = new WatchLines({ maxLineBytes: 4 });
    return texts.flatMap((text) => [...lines.push(bytes(text))]);
  };
  expect(pieces("1234\n")()).toEqual(["1234"]);
  expect(pieces("12", "34", "\n1234\n")()).toEqual(["1234", "1234"]);
  expect(pieces("12345\n")).toThrow(WatchLineTooLong);
  expect(pieces("12345")).toThrow("a line has more than 4 bytes");
  expect(pieces("12", "345\n")).toThrow(WatchLineTooLong);
  expect(pieces("1", "2", "3", "4", "5")).toThrow(WatchLineTooLong);
});
