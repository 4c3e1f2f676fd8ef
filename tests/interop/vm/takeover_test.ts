/** As `../takeover_test.ts`, with backends that not every kernel has. */

import { describeTakeover } from "../takeover.ts";

describeTakeover([{ name: "ipip", backend: "ipip", families: [4] }]);
