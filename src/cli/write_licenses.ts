/** `npm run docs:licenses`: writes licenses/third-party.txt from what is installed. */

import { writeFileSync } from "node:fs";
import { thirdPartyLicenses } from "./third_party_licenses.ts";

const path = new URL("../../licenses/third-party.txt", import.meta.url).pathname;
writeFileSync(path, thirdPartyLicenses());
