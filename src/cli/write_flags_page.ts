/** `npm run docs:flags`: writes docs/flags.md. */

import { writeFileSync } from "node:fs";
import { flagsPage } from "./help.ts";

const page = new URL("../../docs/flags.md", import.meta.url).pathname;
writeFileSync(page, flagsPage());
