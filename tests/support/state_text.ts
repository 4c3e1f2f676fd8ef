/** A state as text, as goldens show it. */

import { resourceText } from "../../src/state/resource_text.ts";
import { kindOf, type Resource } from "../../src/state/resource.ts";

/** All entries, one line each, sorted by the order of their creation, then by text. */
export function stateText(resources: Iterable<Resource>): string {
  return [...resources]
    .map((resource) => ({ stage: kindOf(resource).stage, text: resourceText(resource) }))
    .sort((a, b) => a.stage - b.stage || (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .map(({ text }) => `${text}\n`)
    .join("");
}
