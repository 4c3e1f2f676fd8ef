/** The version: that of package.json and the commit it was built from. */

import manifest from "../../package.json" with { type: "json" };

/** Set by compile.sh through `bun build --define`; absent when run from source. */
declare const FLANNELD_COMMIT: string | undefined;

/** Such as `v0.1.0`. */
export const VERSION = `v${manifest.version}`;

/** Such as `46666a2`; a build of changed files ends in `.dirty`, one from source is `source`. */
export const COMMIT = typeof FLANNELD_COMMIT === "string" ? FLANNELD_COMMIT : "source";

/** Such as `v0.1.0+46666a2`. */
export function versionText(): string {
  return `${VERSION}+${COMMIT}`;
}
