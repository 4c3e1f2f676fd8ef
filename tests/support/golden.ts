/** Comparison with a text file that a reviewer reads; `UPDATE_GOLDENS=1` rewrites it. */

import { expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Expects `text` to be the content of `tests/netns/golden/<name>.txt`. */
export function expectGolden(name: string, text: string): void {
  const path = join(import.meta.dirname ?? ".", "../netns/golden", `${name}.txt`);
  if (process.env["UPDATE_GOLDENS"] === "1") writeFileSync(path, text);
  expect(text).toBe(readFileSync(path, "utf8"));
}
