import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { generatedFiles } from "../../../src/cli/manual/generated_files.ts";

test.each(Object.entries(generatedFiles()))("%s is up to date (npm run docs)", (path, text) => {
  const file = new URL(`../../../${path}`, import.meta.url).pathname;
  expect(readFileSync(file, "utf8")).toBe(text);
});
