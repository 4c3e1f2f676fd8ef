import { expect, test } from "bun:test";
import fc from "fast-check";
import { TextRows } from "../../../src/base/text_rows.ts";

test("a row has the text that was written last", () => {
  const operation = fc.record({
    kind: fc.constantFrom("add" as const, "add" as const, "replace" as const, "delete" as const),
    text: fc.oneof(fc.string({ unit: "grapheme" }), fc.nat(3000).map((n) => "é".repeat(n))),
    which: fc.nat(),
  });
  fc.assert(fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
    const texts = new TextRows();
    const model = new Map<number, string>();
    for (const { kind, text, which } of operations) {
      const row = [...model.keys()][which % model.size];
      if (kind === "add") {
        const added = texts.add(text);
        expect(model.has(added)).toBe(false);
        model.set(added, text);
      } else if (row !== undefined && kind === "replace") {
        texts.replace(row, text);
        model.set(row, text);
      } else if (row !== undefined) {
        texts.delete(row);
        model.delete(row);
      }
      expect(texts.size).toBe(model.size);
    }
    expect(texts.rows()).toEqual([...model.keys()].sort((a, b) => a - b));
    for (const [row, text] of model) {
      expect(texts.at(row)).toBe(text);
      const half = text.slice(0, text.length / 2);
      for (const other of [text, half, `${text}x`, `${half}x`, `${half}é`]) {
        expect(texts.isAt(row, other)).toBe(text === other);
      }
    }
  }));
});

test("the memory of deleted texts is given back", () => {
  const before = process.memoryUsage().arrayBuffers;
  const used = () => process.memoryUsage().arrayBuffers - before;
  const texts = new TextRows();
  const rows = Array.from({ length: 10_000 }, (_, i) => texts.add(`${i} `.padEnd(200, "x")));
  for (let i = 0; i < 20; i++) rows.forEach((row) => texts.replace(row, `${i}`.repeat(60)));
  Bun.gc(true);
  expect(used()).toBeLessThan(6_000_000);
  for (const row of rows.slice(100)) texts.delete(row);
  Bun.gc(true);
  expect(used()).toBeLessThan(300_000);
  expect(rows.slice(0, 100).map((row) => texts.at(row))).toEqual(
    Array.from({ length: 100 }, () => "19".repeat(60)),
  );
});
