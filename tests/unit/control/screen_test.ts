import { expect, test } from "bun:test";
import { screenFrame } from "../../../src/control/screen.ts";

const SIZE = { columns: 80, rows: 3 };

test("the first frame enters the alternate screen and hides the cursor", () => {
  expect(screenFrame("a\nb\n", SIZE, "first"))
    .toBe("\x1b[?1049h\x1b[?25l\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
});

test("the next ones replace line by line, and clear what is left of the one before", () => {
  expect(screenFrame("a\nb\nc\n", SIZE, "next")).toBe("\x1b[Ha\x1b[K\r\nb\x1b[K\r\nc\x1b[K\x1b[J");
});

test("what does not fit is cut off with a note: the terminal does not scroll", () => {
  const text = screenFrame("a\nb\nc\nd\n", SIZE, "next");
  expect(text).toBe("\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… and 2 more lines\x1b[K\x1b[J");
});
