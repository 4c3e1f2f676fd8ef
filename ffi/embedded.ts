/**
 * Copies of shared libraries that travel inside the executable, for machines that lack them.
 *
 * The build registers them before the first library is opened; a development run registers none
 * and uses the system's.
 */

/** SONAME, such as `libnl-3.so.200`, to a path that `readFileSync` can read (a bundled file's too). */
export type EmbeddedLibraries = ReadonlyMap<string, string>;

let embedded: EmbeddedLibraries = new Map();

/** Registers the embedded copies. Call it before anything opens a library. */
export function setEmbeddedLibraries(libraries: EmbeddedLibraries): void {
  embedded = libraries;
}

/** Path of the embedded copy; `undefined` if the executable carries none. */
export function embeddedLibrary(soname: string): string | undefined {
  return embedded.get(soname);
}
