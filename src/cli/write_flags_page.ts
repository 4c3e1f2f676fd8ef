/** `npm run docs:flags`: writes docs/flags.md. */

import { writeFileSync } from "node:fs";
import { flagsPage } from "./flags_page.ts";

const page = new URL("../../docs/flags.md", import.meta.url).pathname;
writeFileSync(page, flagsPage());
