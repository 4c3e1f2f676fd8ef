/**
 * Opening shared libraries: the system's by SONAME, else the copy embedded in the executable.
 *
 * An embedded copy is loaded from memory (memfd_create(2)), so that nothing is written and a
 * read-only root is enough. The loader finds a library's dependencies among those already loaded by
 * their SONAME: whoever opens libnl-route-3 opens libnl-3 first.
 */

import { OperatorError } from "../src/base/operator_error.ts";
import { dlopen, type FFIFunction, type Library } from "bun:ffi";
import { closeSync, readFileSync, writeSync } from "node:fs";
import { embeddedLibrary } from "./embedded.ts";
import { libc } from "./libc.ts";
import { MFD_CLOEXEC } from "./linux.ts";
import { cString } from "./memory.ts";

/** A library is neither installed nor embedded, or lacks a symbol. */
export class LibraryError extends OperatorError {
  override readonly name = "LibraryError";
}

/**
 * Opens the library of the first SONAME that works: the system's, else the embedded copy of the
 * same SONAME. Throws `LibraryError`, which names `debianPackage`.
 */
export function openLibrary<Symbols extends Record<string, FFIFunction>>(
  library: { readonly sonames: readonly string[]; readonly debianPackage: string },
  symbols: Symbols,
): Library<Symbols> {
  const reasons: string[] = [];
  for (const soname of library.sonames) {
    for (const open of [openSystem, openEmbedded]) {
      try {
        const opened = open(soname, symbols);
        if (opened !== undefined) return opened;
      } catch (error) {
        reasons.push(error instanceof Error ? error.message : String(error));
      }
    }
  }
  throw new LibraryError(
    `cannot open ${library.sonames.join(" or ")}: ${reasons.join("; ")}; ` +
      `install it (Debian: ${library.debianPackage})`,
  );
}

/** Loads a library's bytes from memory. The name appears in /proc/PID/maps. */
export function openBytes<Symbols extends Record<string, FFIFunction>>(
  name: string,
  bytes: Uint8Array,
  symbols: Symbols,
): Library<Symbols> {
  const fd = libc().memfd_create(cString(name), MFD_CLOEXEC);
  if (fd < 0) throw new LibraryError(`cannot make a memory file for ${name}`);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    // The descriptor stays open: the loader takes two libraries of one path for the same.
    return dlopen(`/proc/self/fd/${fd}`, symbols);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openSystem<Symbols extends Record<string, FFIFunction>>(
  soname: string,
  symbols: Symbols,
): Library<Symbols> {
  return dlopen(soname, symbols);
}

function openEmbedded<Symbols extends Record<string, FFIFunction>>(
  soname: string,
  symbols: Symbols,
): Library<Symbols> | undefined {
  const path = embeddedLibrary(soname);
  if (path === undefined) return undefined;
  try {
    return openBytes(soname, readFileSync(path), symbols);
  } catch {
    // Memory files may be forbidden (sysctl vm.memfd_noexec): the file itself, then.
    return dlopen(path, symbols);
  }
}
