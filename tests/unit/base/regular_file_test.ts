import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  readRegularFile,
  readRegularText,
  RegularFileError,
  replaceFile,
} from "../../../src/base/regular_file.ts";

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "files-"))));
afterEach(() => rmSync(folder, { recursive: true }));

test("readRegularFile() gives content and mode, through links, up to the limit", () => {
  const [path, link] = [join(folder, "file"), join(folder, "link")];
  writeFileSync(path, "x".repeat(100_000));
  chmodSync(path, 0o640);
  symlinkSync("file", link);
  const { bytes, mode } = readRegularFile(link, 100_000);
  expect([bytes.length, mode]).toEqual([100_000, 0o640]);
  expect(() => readRegularFile(link, 99_999)).toThrow(RegularFileError);
});

test("readRegularFile() limits a file whose size is reported as 0", () => {
  expect(readRegularText("/proc/self/status", 1_000_000)).toContain("Pid:");
  expect(() => readRegularText("/proc/self/status", 100)).toThrow("has more than 100 bytes");
});

test("readRegularFile() passes on the system's error", () => {
  expect(() => readRegularFile(join(folder, "none"), 1)).toThrow("ENOENT");
});

test("replaceFile() has the mode whatever the umask is, and leaves nothing else", async () => {
  const path = join(folder, "file");
  const umask = process.umask(0o077);
  try {
    await replaceFile(path, "text", { mode: 0o644, flush: false });
  } finally {
    process.umask(umask);
  }
  expect(statSync(path).mode & 0o7777).toBe(0o644);
  expect(readFileSync(path, "utf8")).toBe("text");
  expect(readdirSync(folder)).toEqual(["file"]);
});

test("replaceFile() never writes through a link with the name of its temporary file", async () => {
  const [path, victim] = [join(folder, "file"), join(folder, "victim")];
  writeFileSync(victim, "kept");
  const random = crypto.getRandomValues;
  crypto.getRandomValues = <T>(bytes: T) => bytes; // as if its name had been guessed
  try {
    symlinkSync(victim, `${path}.${"00".repeat(8)}.tmp`);
    await expect(replaceFile(path, "text", { mode: 0o644, flush: false })).rejects.toThrow(
      "EEXIST",
    );
  } finally {
    crypto.getRandomValues = random;
  }
  expect(readFileSync(victim, "utf8")).toBe("kept");
});
