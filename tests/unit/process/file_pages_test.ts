/** Which mappings may lose their pages, and that the process does not notice. */

import { describe, expect, test } from "bun:test";
import { cleanFileMappings, dropFilePages, mappedRange } from "../../../src/process/file_pages.ts";
import { memoryMib } from "../../support/process_memory.ts";

/** proc_pid_smaps(5), with the lines that matter. */
function mapping(header: string, anonymousKb = 0): string {
  return `${header}\nSize: 4 kB\nRss: 4 kB\nAnonymous: ${anonymousKb} kB\nSwap: 0 kB\n` +
    "VmFlags: rd mr mw me sd \n";
}

const FILE = "/usr/bin/flanneld";

describe("cleanFileMappings", () => {
  test.each([
    ["code", mapping(`1000-3000 r-xp 00000000 fe:00 17   ${FILE}`)],
    ["constants", mapping(`1000-3000 r--p 00002000 fe:00 17   ${FILE}`)],
    ["a replaced file", mapping(`1000-3000 r-xp 00000000 fe:00 17   ${FILE} (deleted)`)],
  ])("has %s", (_name, text) => {
    expect(cleanFileMappings(text)).toEqual([{ start: 0x1000n, end: 0x3000n }]);
  });

  test.each([
    ["private copies of pages", mapping(`1000-3000 r--p 00002000 fe:00 17   ${FILE}`, 4)],
    ["variables", mapping(`1000-3000 rw-p 00002000 fe:00 17   ${FILE}`)],
    ["writable code", mapping(`1000-3000 rwxp 00002000 fe:00 17   ${FILE}`)],
    ["shared memory", mapping(`1000-3000 r--s 00002000 fe:00 17   ${FILE}`)],
    ["the heap", mapping("1000-3000 r--p 00000000 00:00 0   [heap]")],
    ["compiled functions", mapping("1000-3000 r-xp 00000000 00:00 0 ")],
    ["a mapping that does not say", "1000-3000 r-xp 00000000 fe:00 17   /a\nSize: 4 kB\n"],
  ])("does not have %s", (_name, text) => {
    expect(cleanFileMappings(text)).toEqual([]);
  });

  test("distinguishes neighbours", () => {
    const text = mapping(`1000-3000 r-xp 00000000 fe:00 17   ${FILE}`) +
      mapping(`3000-4000 r--p 00002000 fe:00 17   ${FILE}`, 4) +
      mapping(`ffff0000-ffff4000 r--p 00003000 fe:00 17   ${FILE}`);
    expect(cleanFileMappings(text)).toEqual([
      { start: 0x1000n, end: 0x3000n },
      { start: 0xffff0000n, end: 0xffff4000n },
    ]);
  });
});

describe("mappedRange", () => {
  const code = mapping(`100000-104000 r-xp 00000000 fe:00 17   ${FILE}`);
  const data = mapping(`204000-210000 rw-p 00004000 fe:00 17   ${FILE}`);
  const other = mapping("300000-310000 rw-p 00000000 fe:00 18   /usr/lib/libc.so.6");

  test("has the whole pages of a part of the file", () => {
    const text = other + code + data;
    const whole = { start: 0x5000, end: 0x8000 };
    expect(mappedRange(text, FILE, whole)).toEqual({ start: 0x205000n, end: 0x208000n });
    const part = { start: 0x5001, end: 0x8fff };
    expect(mappedRange(text, FILE, part)).toEqual({ start: 0x206000n, end: 0x208000n });
  });

  test("has pages of the kernel's size", () => {
    const text = data.replace("Rss:", "KernelPageSize: 16 kB\nRss:");
    const part = { start: 0x4000, end: 0xffff };
    expect(mappedRange(text, FILE, part)).toEqual({ start: 0x204000n, end: 0x20c000n });
  });

  test("has nothing of a part that is in no mapping, or in two", () => {
    for (const part of [{ start: 0x3000, end: 0x5000 }, { start: 0xf000, end: 0x11000 }]) {
      expect(mappedRange(code + data, FILE, part)).toBeUndefined();
    }
    expect(mappedRange(other, FILE, { start: 0, end: 0x1000 })).toBeUndefined();
  });
});

test("dropFilePages gives most of the executable back, and everything still works", () => {
  const before = memoryMib(process.pid).file;
  expect(before).toBeGreaterThan(10);
  dropFilePages();
  expect(memoryMib(process.pid).file).toBeLessThan(before / 2);
  expect(JSON.parse(JSON.stringify({ a: [1, "ü", null] }))).toEqual({ a: [1, "ü", null] });
  expect("10.5.52.0/24".replace(/(\d+)\/(\d+)/, "$2-$1")).toBe("10.5.52.24-0");
});
