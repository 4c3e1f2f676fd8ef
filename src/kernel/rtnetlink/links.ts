/** Devices of this network namespace, one by one. */

import { errnoName } from "../../../ffi/errno.ts";
import type { Channel } from "../wire/channel.ts";
import { type DecodedLink, decodeLink } from "./link_decoder.ts";
import { dumpLinks, getLink } from "./link_messages.ts";
import type { RtnetlinkEncoder } from "./rtnetlink_encoder.ts";
import { DUMP_TRIES } from "../wire/interrupted_dump.ts";
import { refused } from "../table/step_result.ts";

/** A device by name or index; `undefined` if there is none. Throws `KernelError`. */
export function findLink(
  questions: Channel<RtnetlinkEncoder>,
  which: string | number,
): DecodedLink | undefined {
  // No device has such a name (IFNAMSIZ, linux/if.h), and the kernel would call it EINVAL or ERANGE.
  if (typeof which === "string" && !/^[^/\s]{1,15}$/.test(which)) return undefined;
  if (which === 0) return undefined;
  let found: DecodedLink | undefined;
  const refusal = questions.ask((encoder) => getLink(encoder, which), (reply) => {
    found = decodeLink(reply);
  });
  if (refusal === undefined || errnoName(refusal.errno) === "ENODEV") return found;
  throw refused(`look up device ${which}`, refusal);
}

/** Names by index of all devices that were there all the time. Throws `KernelError`. */
export function readLinkNames(questions: Channel<RtnetlinkEncoder>): Map<number, string> {
  const names = new Map<number, string>();
  for (let tries = 1;; tries++) {
    const outcome = questions.readTable(dumpLinks, (message) => {
      const decoded = decodeLink(message);
      if (decoded !== undefined) names.set(decoded.ifindex, decoded.link.name);
    });
    // An interrupted dump may lack a device that was there all the time: add what the next finds.
    if (outcome === "complete" || tries === DUMP_TRIES) return names;
  }
}

/** Indexes of devices by name, each asked for once until it is forgotten. */
export class Ifindexes {
  readonly #questions: Channel<RtnetlinkEncoder>;
  readonly #known = new Map<string, number | undefined>();

  constructor(questions: Channel<RtnetlinkEncoder>) {
    this.#questions = questions;
  }

  /** `undefined` if there is no such device; 0 for the empty name, which stands for none. */
  of(name: string): number | undefined {
    if (name === "") return 0;
    if (!this.#known.has(name)) this.#known.set(name, findLink(this.#questions, name)?.ifindex);
    return this.#known.get(name);
  }

  forget(name: string): void {
    this.#known.delete(name);
  }
}
