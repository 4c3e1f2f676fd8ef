/** The files that are generated from the declarations of commands. */

import { FLANNELD } from "../commands.ts";
import { bashCompletion } from "./bash_completion.ts";
import { fishCompletion } from "./fish_completion.ts";
import { flagsPage } from "./flags_page.ts";
import { manPages } from "./man_page.ts";
import { zshCompletion } from "./zsh_completion.ts";

/** Their texts by path, from the root of the repository. */
export function generatedFiles(): Readonly<Record<string, string>> {
  return {
    "docs/flags.md": flagsPage(),
    ...Object.fromEntries(manPages(FLANNELD).map(({ name, text }) => [`deploy/man/${name}`, text])),
    "deploy/completion/flanneld.bash": bashCompletion(FLANNELD),
    "deploy/completion/_flanneld": zshCompletion(FLANNELD),
    "deploy/completion/flanneld.fish": fishCompletion(FLANNELD),
  };
}
