/**
 * The pages of the executable and its libraries, which the process reads but never changes. Most of
 * the pages that are used at the start are not needed again, but stay in its resident memory.
 */

import { readFileSync } from "node:fs";
import { libc } from "../../ffi/libc.ts";

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

/**
 * Removes the pages of these mappings from the process's resident memory. They stay in the kernel's
 * page cache while there is room, and each page that is used again comes back from there. Costs
 * some milliseconds. Without /proc, nothing happens.
 */
export function dropFilePages(): void {
  let smaps: string;
  try {
    smaps = readFileSync("/proc/self/smaps", "utf8");
  } catch {
    return;
  }
  const { madvise } = libc();
  for (const { start, end } of cleanFileMappings(smaps)) {
    madvise(start, end - start, MADV_DONTNEED);
  }
}

const MADV_DONTNEED = 4; // asm-generic/mman-common.h
