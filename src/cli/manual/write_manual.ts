/** `npm run docs`: writes docs/flags.md, the man pages and the completion of shells. */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { generatedFiles } from "./generated_files.ts";

const root = new URL("../../../", import.meta.url).pathname;

for (const [path, text] of Object.entries(generatedFiles())) {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), text);
}
