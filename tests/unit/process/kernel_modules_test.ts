import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { loadModules } from "../../../src/process/kernel_modules.ts";

const PATH = process.env["PATH"];
const directory = mkdtempSync(`${tmpdir()}/modules-`);

/** Puts a program of this content first on the path. */
function modprobe(content: string): void {
  writeFileSync(`${directory}/modprobe`, content, { mode: 0o755 });
  process.env["PATH"] = `${directory}:${PATH}`;
}

afterEach(() => {
  process.env["PATH"] = PATH;
  rmSync(`${directory}/modprobe`, { force: true });
});

afterAll(() => rmSync(directory, { recursive: true }));

test("loadModules() returns whether modprobe succeeded", async () => {
  modprobe("#!/bin/sh\ntest \"$*\" = '--quiet --all ipip fou'\n");
  expect(await loadModules(["ipip", "fou"])).toBe(true);
  expect(await loadModules(["ipip"])).toBe(false);
});

test("loadModules() is no reason to end where modprobe cannot run or does not live", async () => {
  modprobe("\x7fELF");
  expect(await loadModules(["ipip"])).toBe(false);
  modprobe("#!/bin/sh\nkill -9 $$\n");
  expect(await loadModules(["ipip"])).toBe(false);
});

test("loadModules() ends with the signal's reason", async () => {
  modprobe("#!/bin/sh\nsleep 60\n");
  const stop = new AbortController();
  const loading = loadModules(["ipip"], { signal: stop.signal });
  stop.abort(new Error("the end"));
  await expect(loading).rejects.toThrow("the end");
});
