/**
 * Opens shared libraries: the system's by SONAME, otherwise the copy embedded in the executable.
 *
 * An embedded copy is loaded from memory (memfd_create(2)), so it works on a read-only root. The
 * loader finds a library's dependencies by SONAME among the loaded ones: libnl-3 must be open
 * before libnl-route-3.
 */

import { OperatorError } from "../src/base/operator_error.ts";
import { dlopen, type FFIFunction, type Library } from "bun:ffi";
import { closeSync, readFileSync, writeSync } from "node:fs";
import { embeddedLibrary } from "./embedded.ts";
import { libc } from "./libc.ts";
import { MFD_CLOEXEC } from "./linux.ts";
import { cString } from "./memory.ts";

/** A library is neither installed nor embedded, or a symbol is missing from it. */
export class LibraryError extends OperatorError {
  override readonly name = "LibraryError";
}

/**
 * Opens the first SONAME that works: of each the system's library, then the embedded copy. Throws
 * `LibraryError`, which names `debianPackage`.
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

/** Loads a library from memory. The name appears in /proc/PID/maps. */
export function openBytes<Symbols extends Record<string, FFIFunction>>(
  name: string,
  bytes: Uint8Array,
  symbols: Symbols,
): Library<Symbols> {
  const fd = libc().memfd_create(cString(name), MFD_CLOEXEC);
  if (fd < 0) throw new LibraryError(`cannot create a memory file for ${name}`);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    // The descriptor stays open, because the loader takes two libraries of one path for the same.
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
    // Memory files may be forbidden (sysctl vm.memfd_noexec); then the file itself is opened.
    return dlopen(path, symbols);
  }
}

/** Calls `make` until it does not throw once; returns that result ever after. */
export function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => made ??= make();
}
