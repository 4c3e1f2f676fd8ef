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
  createFile,
  readRegularFile,
  readRegularText,
  RegularFileError,
  replaceFile,
  requireDirectoryFor,
} from "../../../src/base/regular_file.ts";

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "files-"))));
afterEach(() => rmSync(folder, { recursive: true }));

function fileError(action: () => unknown): RegularFileError {
  try {
    action();
  } catch (error) {
    if (error instanceof RegularFileError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("readRegularFile() returns content and mode, through links, up to the limit", () => {
  const [path, link] = [join(folder, "file"), join(folder, "link")];
  writeFileSync(path, "x".repeat(100_000));
  chmodSync(path, 0o640);
  symlinkSync("file", link);
  const { bytes, mode } = readRegularFile(link, 100_000);
  expect([bytes.length, mode]).toEqual([100_000, 0o640]);
  expect(fileError(() => readRegularFile(link, 99_999))).toMatchObject({
    kind: "too-large",
    path: link,
    message: `${link} has more than 99999 bytes`,
  });
});

test("readRegularFile() limits a file whose size is reported as 0", () => {
  expect(readRegularText("/proc/self/status", 1_000_000)).toContain("Pid:");
  expect(() => readRegularText("/proc/self/status", 100)).toThrow("has more than 100 bytes");
});

test("readRegularFile() refuses a directory, and a FIFO without opening it", () => {
  expect(fileError(() => readRegularFile(folder, 1))).toMatchObject({
    kind: "not-a-regular-file",
    message: `${folder} is a directory, not a regular file`,
  });
  const fifo = join(folder, "fifo");
  Bun.spawnSync(["mkfifo", fifo]);
  expect(fileError(() => readRegularFile(fifo, 1))).toMatchObject({
    kind: "not-a-regular-file",
    path: fifo,
    message: `${fifo} is a FIFO, not a regular file`,
  });
});

test("requireDirectoryFor() names the file that is in the place of a directory", () => {
  const path = join(folder, "file");
  writeFileSync(path, "");
  expect(fileError(() => requireDirectoryFor(join(path, "a", "b")))).toMatchObject({
    kind: "not-a-directory",
    path,
    message: `${path} is a regular file, not a directory`,
  });
  requireDirectoryFor(join(folder, "a", "b"));
});

test("readRegularFile() passes on the system's error", () => {
  expect(() => readRegularFile(join(folder, "none"), 1)).toThrow("ENOENT");
});

test("replaceFile() sets the mode regardless of the umask, and leaves no other file", async () => {
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

test("createFile() creates it once, whole, also if several programs do", async () => {
  const path = join(folder, "file");
  const texts = ["a", "b", "c"].map((letter) => letter.repeat(1000));
  const options = { mode: 0o600, flush: false };
  const created = await Promise.all(texts.map((text) => createFile(path, text, options)));
  expect(created.filter((isCreated) => isCreated)).toHaveLength(1);
  expect(readRegularText(path, 1000)).toBe(texts[created.indexOf(true)] as string);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(["file"]);
  symlinkSync("missing", join(folder, "link"));
  expect(await createFile(join(folder, "link"), "x", options)).toBe(false);
  expect(readdirSync(folder).sort()).toEqual(["file", "link"]);
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
