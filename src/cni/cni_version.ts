/** Versions of the CNI specification. */

/** Those of the delegates, which get the same configuration. */
export const CNI_VERSIONS: readonly string[] = [
  "0.1.0",
  "0.2.0",
  "0.3.0",
  "0.3.1",
  "0.4.0",
  "1.0.0",
  "1.1.0",
];

/** A configuration without a version has this one. */
export const OLDEST_CNI_VERSION = "0.1.0";

/** The result of VERSION. */
export function versionResult(): string {
  return JSON.stringify({ cniVersion: CNI_VERSIONS.at(-1), supportedVersions: CNI_VERSIONS });
}

/** Whether one supported version is the other or newer. */
export function isCniVersionAtLeast(version: string, other: string): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(other);
}
