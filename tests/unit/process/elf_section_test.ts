/** Sections of real executables, as readelf shows them, and files that are none. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { elfSection } from "../../../src/process/elf_section.ts";
import { runProgram } from "../../../src/process/run_program.ts";

let directory = "";
beforeAll(() => void (directory = mkdtempSync(`${tmpdir()}/elf-section-`)));
afterAll(() => rmSync(directory, { recursive: true }));

describe("elfSection", () => {
  test("finds what readelf finds", async () => {
    const { stdout } = await runProgram("readelf", ["-SW", process.execPath]);
    for (const name of [".text", ".rodata", ".data"]) {
      // [13] .rodata PROGBITS 0000000000213000 013000 158fb3c 00 AMS 0 0 4096
      const row = new RegExp(`\\] \\${name} +\\w+ +\\w+ (\\w+) (\\w+) `).exec(stdout) ?? [];
      const [start, size] = [parseInt(row[1] ?? "", 16), parseInt(row[2] ?? "", 16)];
      expect(elfSection(process.execPath, name)).toEqual({ start, end: start + size });
    }
  });

  test("does not find a section that is not there, even if another name begins the same", () => {
    expect(elfSection(process.execPath, ".tex")).toBeUndefined();
    expect(elfSection(process.execPath, "")).toEqual({ start: 0, end: 0 });
  });

  test("finds none in a file that is not an executable, or that ends early", () => {
    const start = readFileSync(process.execPath).subarray(0, 64);
    const files = ["", "#!/bin/sh\n", "\x7fELF", start, "\x7fELF\x01\x01".padEnd(64, "\0")];
    for (const [index, content] of files.entries()) {
      const path = `${directory}/${index}`;
      writeFileSync(path, content);
      expect(elfSection(path, ".text")).toBeUndefined();
    }
  });
});
