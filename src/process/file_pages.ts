/**
 * The pages of the executable and its libraries, which the process reads but never changes. Most of
 * the pages that are used at the start are not needed again, but stay in its resident memory.
 */

import { closeSync, openSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { libc } from "../../ffi/libc.ts";
import { elfSection, type FileRange } from "./elf_section.ts";

/** A range of the process's addresses; `end` is exclusive. */
export interface AddressRange {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * The file mappings that hold nothing but what their files hold, given the text of
 * proc_pid_smaps(5): they are not writable, and none of their pages is a private copy. Pages of the
 * dynamic linker's relocations are such copies (RELRO), and would be lost.
 */
export function cleanFileMappings(smaps: string): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (const mapping of smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d* +\//.exec(mapping);
    if (header === null || !/^Anonymous: +0 kB$/m.test(mapping)) continue;
    const [start, end] = [BigInt(`0x${header[1]}`), BigInt(`0x${header[2]}`)];
    ranges.push({ start, end });
  }
  return ranges;
}

/** Where the whole pages of a part of a file are mapped, given the text of proc_pid_smaps(5). */
export function mappedRange(
  smaps: string,
  path: string,
  part: FileRange,
): AddressRange | undefined {
  const pageBytes = pageBytesOf(smaps);
  for (const line of smaps.split("\n")) {
    const [, from, to, offset, file] =
      /^([0-9a-f]+)-([0-9a-f]+) \S{4} ([0-9a-f]+) \S+ \d+ +(\/.*)$/.exec(line) ?? [];
    if (file !== path) continue;
    const start = BigInt(`0x${from}`) - BigInt(`0x${offset}`) + BigInt(part.start);
    const end = start + BigInt(part.end - part.start);
    if (start < BigInt(`0x${from}`) || end > BigInt(`0x${to}`)) continue;
    return { start: (start + pageBytes - 1n) & -pageBytes, end: end & -pageBytes };
  }
  return undefined;
}

/** arm64 has kernels with pages of 4, 16 and 64 KiB. */
function pageBytesOf(smaps: string): bigint {
  return BigInt(/^KernelPageSize: +(\d+) kB$/m.exec(smaps)?.[1] ?? 4) * 1024n;
}

/**
 * Removes the pages of these mappings from the process's resident memory, and those of our own
 * code. They stay in the kernel's page cache while there is room, and each page that is used again
 * comes back from there. Costs some milliseconds. Without /proc, nothing happens.
 */
export function dropFilePages(): void {
  let smaps: string;
  try {
    smaps = readFileSync("/proc/self/smaps", "utf8");
  } catch {
    return;
  }
  const { madvise } = libc();
  const code = ownCode(smaps);
  for (const { start, end } of [...cleanFileMappings(smaps), ...(code ? [code] : [])]) {
    madvise(start, end - start, MADV_DONTNEED);
  }
}

/**
 * Where the source and the bytecode of this program are. The section that contains them is in one
 * mapping with the runtime's variables, and therefore writable, but nothing writes to it.
 */
function ownCode(smaps: string): AddressRange | undefined {
  try {
    const section = elfSection("/proc/self/exe", ".bun");
    if (section === undefined) return undefined;
    const range = mappedRange(smaps, readlinkSync("/proc/self/exe"), section);
    return range !== undefined && hasOnlyFilePages(range, pageBytesOf(smaps)) ? range : undefined;
  } catch {
    return undefined;
  }
}

/** Whether none of the pages is a private copy (Documentation/admin-guide/mm/pagemap.rst). */
function hasOnlyFilePages({ start, end }: AddressRange, pageBytes: bigint): boolean {
  const entries = Buffer.alloc(Number((end - start) / pageBytes) * ENTRY_BYTES);
  const file = openSync("/proc/self/pagemap", "r");
  try {
    const position = Number(start / pageBytes) * ENTRY_BYTES;
    if (readSync(file, entries, 0, entries.length, position) < entries.length) return false;
  } finally {
    closeSync(file);
  }
  for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
    const flags = (entries[at + ENTRY_BYTES - 1] as number) & (PRESENT | SWAPPED | FILE);
    if (flags !== 0 && flags !== (PRESENT | FILE)) return false;
  }
  return true;
}

const MADV_DONTNEED = 4; // asm-generic/mman-common.h
const ENTRY_BYTES = 8;
/** Bits 63, 62 and 61 of an entry, in its last byte. */
const PRESENT = 0x80;
const SWAPPED = 0x40;
const FILE = 0x20;
