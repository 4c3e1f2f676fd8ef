import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ignitionFiles } from "../../../deploy/ignition/ignition_config.ts";

test.each(Object.entries(ignitionFiles()))("%s is up to date (npm run docs)", (path, text) => {
  const file = new URL(`../../../${path}`, import.meta.url).pathname;
  expect(readFileSync(file, "utf8")).toBe(text);
});
