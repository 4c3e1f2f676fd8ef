/** Where a section of an executable is in its file (elf(5)). */

import { closeSync, openSync, readSync } from "node:fs";

/** A part of a file; `end` is exclusive. */
export interface FileRange {
  readonly start: number;
  readonly end: number;
}

/** `undefined` if there is no such section, or this is not a 64-bit little-endian ELF file. */
export function elfSection(path: string, name: string): FileRange | undefined {
  const file = openSync(path, "r");
  try {
    return findSection((start, length) => readAt(file, start, length), name);
  } finally {
    closeSync(file);
  }
}

/** Bytes of the file; fewer if it ends before. */
type Read = (start: number, length: number) => Buffer;

function findSection(read: Read, name: string): FileRange | undefined {
  const header = read(0, 64); // Elf64_Ehdr
  if (header.length < 64 || !header.subarray(0, 6).equals(MAGIC)) return undefined;
  const table = Number(header.readBigUInt64LE(0x28)); // e_shoff
  const count = header.readUInt16LE(0x3c); // e_shnum
  const headers = read(table, count * SECTION_BYTES);
  const at = (index: number) =>
    headers.subarray(index * SECTION_BYTES, (index + 1) * SECTION_BYTES);
  const namesAt = rangeOf(at(header.readUInt16LE(0x3e))); // e_shstrndx
  if (namesAt === undefined) return undefined;
  const names = read(namesAt.start, namesAt.end - namesAt.start);
  for (let index = 0; index < count; index++) {
    const section = at(index);
    if (section.length < SECTION_BYTES) return undefined;
    const from = section.readUInt32LE(0); // sh_name
    if (names.toString("latin1", from, names.indexOf(0, from)) === name) return rangeOf(section);
  }
  return undefined;
}

function rangeOf(section: Buffer): FileRange | undefined {
  if (section.length < SECTION_BYTES) return undefined;
  const start = Number(section.readBigUInt64LE(0x18)); // sh_offset
  return { start, end: start + Number(section.readBigUInt64LE(0x20)) }; // sh_size
}

function readAt(file: number, start: number, length: number): Buffer {
  const bytes = Buffer.alloc(Math.min(length, MAX_BYTES));
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, start));
}

const MAGIC = Buffer.from("\x7fELF\x02\x01", "latin1"); // ELFCLASS64, ELFDATA2LSB
const SECTION_BYTES = 64; // Elf64_Shdr
/** A table of sections, and that of their names, are much smaller. */
const MAX_BYTES = 1 << 20;
