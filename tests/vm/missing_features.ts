/** Prints the features for this folder's tests that the kernel lacks. Exit code 0 if none. */

import { missingFeatures } from "../../src/lab/kernel_features.ts";

const missing = await missingFeatures(["wireguard", "ipip", "fou", "esp4", "esp6"]);
for (const line of missing) console.log(line);
process.exitCode = missing.length === 0 ? 0 : 1;
