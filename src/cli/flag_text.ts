/** How flags are shown, in `--help` and in the manual. */

import type { Flag } from "./flag.ts";

/** The flags that are shown, by section, in the order of the table. */
export function flagSections(
  flags: readonly Flag<unknown>[],
): { readonly title: string; readonly flags: readonly Flag<unknown>[] }[] {
  const shown = flags.filter((flag) => !flag.isHidden);
  const titles = new Set(shown.map(({ section }) => section));
  return [...titles].map((title) => ({
    title,
    flags: shown.filter(({ section }) => section === title),
  }));
}

/** Such as `--hosts N`. */
export function flagUsage({ name, metavar }: Flag<unknown>): string {
  return `${name.length === 1 ? "-" : "--"}${name}${metavar === "" ? "" : ` ${metavar}`}`;
}
