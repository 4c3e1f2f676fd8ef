/**
 * Copies of shared libraries inside the executable, for machines that do not have them installed.
 *
 * The executable registers them before it opens the first library. A development run registers none
 * and uses the system's libraries.
 */

/** Paths that `readFileSync` can read, also inside the executable, by SONAME (`libnl-3.so.200`). */
export type EmbeddedLibraries = ReadonlyMap<string, string>;

let embedded: EmbeddedLibraries = new Map();

/** Registers the embedded copies; to be called before any library is opened. */
export function setEmbeddedLibraries(libraries: EmbeddedLibraries): void {
  embedded = libraries;
}

/** Path of the embedded copy; `undefined` if there is none. */
export function embeddedLibrary(soname: string): string | undefined {
  return embedded.get(soname);
}
