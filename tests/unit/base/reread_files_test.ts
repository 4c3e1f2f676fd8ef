import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RereadFiles } from "../../../src/base/reread_files.ts";

let directory: string;
beforeEach(() => directory = mkdtempSync(join(tmpdir(), "reread-files-test-")));
afterEach(() => rmSync(directory, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

test("the value is read again when one of the files changes, and only then", () => {
  const paths = [file("a", "1"), file("b", "2")];
  let reads = 0;
  const files = new RereadFiles({
    paths,
    read: () => {
      reads++;
      return paths.map((path) => readFileSync(path, "utf8")).join();
    },
  });
  expect([files.current(), files.current(), reads]).toEqual(["1,2", "1,2", 1]);
  file("b", "33");
  expect([files.current(), files.current(), reads]).toEqual(["1,33", "1,33", 2]);
  renameSync(file("new", "4"), paths[0] as string);
  expect([files.current(), reads]).toEqual(["4,33", 3]);
});

test("while a file cannot be read, the last value stays, and each attempt is reported", () => {
  const path = file("a", "1");
  const outcomes: string[] = [];
  const files = new RereadFiles({
    paths: [path],
    read: () => JSON.parse(readFileSync(path, "utf8")) as unknown,
    outcome: {
      failed: (error) => void outcomes.push((error as NodeJS.ErrnoException).code ?? "syntax"),
      succeeded: () => void outcomes.push("ok"),
    },
  });
  expect(files.current()).toBe(1);
  rmSync(path);
  expect(files.current()).toBe(1);
  file("a", "{");
  expect(files.current()).toBe(1);
  file("a", "2");
  expect(files.current()).toBe(2);
  expect(outcomes).toEqual(["ok", "ENOENT", "syntax", "ok"]);
});

test("without any value, the failure is the caller's", () => {
  const files = new RereadFiles({ paths: [join(directory, "none")], read: () => 1 });
  expect(() => files.current()).toThrow(/ENOENT/);
  file("none", "x");
  expect(files.current()).toBe(1);
});
