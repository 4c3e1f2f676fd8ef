/** Entries as text in the notation of `ip` and `bridge`, for messages, logs and goldens. */

import { kindOf, type Resource } from "./resource.ts";

/** One line: the object, then what `ip OBJECT show` would print. Secrets are left out. */
export function resourceText(resource: Resource): string {
  return kindOf(resource).text(resource);
}

export { endpointText } from "./kinds/wireguard_peer.ts";
