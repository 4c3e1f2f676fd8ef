/** Which C libraries are loaded, for bug reports. */

import { dlopen, type Pointer, read } from "bun:ffi";
import { readFileSync } from "node:fs";
import { libnlCore } from "./libnl.ts";
import { openLibrary } from "./library.ts";

export interface LibnlVersion {
  readonly version: string;
  /** The file it was loaded from; `/memfd:…` is the copy inside the executable. */
  readonly file: string;
}

/** Opens libnl-3. Throws `LibraryError`. */
export function libnlVersion(): LibnlVersion {
  libnlCore();
  const library = { sonames: [LIBNL], debianPackage: "libnl-3-200" };
  // const int nl_ver_maj, nl_ver_min, nl_ver_mic;  netlink/version.h
  const { symbols } = openLibrary(library, {
    nl_ver_maj: CONSTANT,
    nl_ver_min: CONSTANT,
    nl_ver_mic: CONSTANT,
  });
  const numbers = [symbols.nl_ver_maj, symbols.nl_ver_min, symbols.nl_ver_mic]
    .map((symbol) => read.i32((symbol as unknown as { readonly ptr: Pointer }).ptr, 0));
  return { version: numbers.join("."), file: loadedFile(LIBNL) };
}

/** Such as `glibc 2.36`; of musl only the name, because it has no function for its version. */
export function libcVersion(): string {
  try {
    // const char *gnu_get_libc_version(void);  gnu/libc-version.h
    const { symbols } = dlopen("libc.so.6", {
      gnu_get_libc_version: { args: [], returns: "cstring" },
    });
    return `glibc ${symbols.gnu_get_libc_version()}`;
  } catch {
    return "musl";
  }
}

const LIBNL = "libnl-3.so.200";

/** A symbol that is read, not called. */
const CONSTANT = { args: [], returns: "void" } as const;

/** The path in proc_pid_maps(5), without the mark of a deleted file, as memory files are. */
function loadedFile(soname: string): string {
  const maps = readFileSync("/proc/self/maps", "utf8");
  const paths = maps.split("\n").map((line) => line.slice(line.indexOf("/")));
  const path = paths.find((one) => one.includes(soname));
  return path?.replace(/ \(deleted\)$/, "") ?? "";
}
