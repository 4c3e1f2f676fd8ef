import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { elapsedText, statusText } from "../../../src/control/status_text.ts";
import { COLOURED, wrapped } from "../../../src/control/terminal_text.ts";
import { KUBERNETES, NOT_READY, READY, STARTING } from "../../support/status_documents.ts";

const DOCUMENTS = { ready: READY, not_ready: NOT_READY, starting: STARTING, kube: KUBERNETES };

/** `UPDATE_GOLDENS=1` rewrites them. */
function expectText(name: string, text: string): void {
  const path = new URL(`golden/${name}.txt`, import.meta.url).pathname;
  if (process.env["UPDATE_GOLDENS"] === "1") writeFileSync(path, text);
  expect(text).toBe(readFileSync(path, "utf8"));
}

describe("the text of a status", () => {
  for (const width of [80, 160]) {
    test.each(Object.entries(DOCUMENTS))(`%s, ${width} columns`, (name, document) => {
      const text = statusText(document, { width });
      expectText(`status_${name}_${width}`, text);
      expect(text.split("\n").filter((line) => line.length > width)).toEqual([]);
    });
  }

  test("has no control characters but line feeds, whatever the daemon sent", () => {
    // deno-lint-ignore no-control-regex
    expect(statusText(NOT_READY, { width: 80 })).not.toMatch(/[\0-\x09\x0b-\x1f\x7f]/);
  });

  test("is coloured on a terminal", () => {
    expect(statusText(READY, { width: 80, paint: COLOURED })).toContain("\u001b[32mready\u001b[0m");
    expect(statusText(NOT_READY, { width: 80, paint: COLOURED })).toContain("\u001b[31mroute ");
  });
});

test.each([
  ["a b", ["a b"]],
  ["one two three four five", ["one two three four", "five"]],
  ["x".repeat(45), ["x".repeat(20), "x".repeat(20), "x".repeat(5)]],
  ["", [""]],
])("%p in lines of 20", (text, lines) => expect(wrapped(text, 20)).toEqual(lines));

test.each([
  [0, "0 s"],
  [59, "59 s"],
  [60, "1 min"],
  [3_600, "1 h 0 min"],
  [90_061, "1 d 1 h"],
  [-5, "0 s"],
])("%d s are %s", (seconds, text) => {
  const from = Date.parse("2026-01-02T03:04:05Z");
  const at = (ms: number) => new Date(ms).toISOString();
  expect(elapsedText(at(from), at(from + seconds * 1000))).toBe(text);
  expect(elapsedText("x", at(from))).toBe("an unknown time");
});
