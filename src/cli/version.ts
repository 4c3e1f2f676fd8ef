/** The version: that of package.json and the commit it was built from. */

import manifest from "../../package.json" with { type: "json" };

/** Set by compile.sh through `bun build --define`; absent when run from source. */
declare const FLANNELD_COMMIT: string | undefined;

/** `v0.1.0+46666a2`; a build of changed files ends in `.dirty`, one from source in `+source`. */
export function versionText(): string {
  const commit = typeof FLANNELD_COMMIT === "string" ? FLANNELD_COMMIT : "source";
  return `v${manifest.version}+${commit}`;
}
