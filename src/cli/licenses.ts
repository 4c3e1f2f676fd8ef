/** `flanneld licenses`: what the executable contains, and under which terms. */

import apache from "../../LICENSE" with { type: "text" };
import lgpl from "../../licenses/LGPL-2.1.txt" with { type: "text" };
import thirdParty from "../../licenses/third-party.txt" with { type: "text" };
import notice from "../../NOTICE" with { type: "text" };

/** The notice, then each license in full. */
export function licensesText(): string {
  return [notice, thirdParty, apache, lgpl].join(`\n${"=".repeat(78)}\n\n`);
}
