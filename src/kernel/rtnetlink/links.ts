/** Look-ups of devices in this network namespace. */

import { errnoName } from "../../../ffi/errno.ts";
import { refusalError } from "../table/step_result.ts";
import type { Channel } from "../wire/channel.ts";
import { DUMP_TRIES } from "../wire/interrupted_dump.ts";
import { type DecodedLink, decodeLink } from "./link_decoder.ts";
import { dumpLinks, getLink } from "./link_messages.ts";
import type { RtnetlinkEncoder } from "./rtnetlink_encoder.ts";

/** A device by name or index; `undefined` if there is none. Throws `KernelError`. */
export function findLink(
  queries: Channel<RtnetlinkEncoder>,
  which: string | number,
): DecodedLink | undefined {
  // No device can have such a name (IFNAMSIZ, linux/if.h); the kernel would say EINVAL or ERANGE.
  if (typeof which === "string" && !/^[^/\s]{1,15}$/.test(which)) return undefined;
  if (which === 0) return undefined;
  let found: DecodedLink | undefined;
  const refusal = queries.get((encoder) => getLink(encoder, which), (reply) => {
    found = decodeLink(reply);
  });
  if (refusal === undefined || errnoName(refusal.errno) === "ENODEV") return found;
  throw refusalError(`look up device ${which}`, refusal);
}

/**
 * Names by index of all devices, except for any created or deleted meanwhile. Throws
 * `KernelError`.
 */
export function readLinkNames(queries: Channel<RtnetlinkEncoder>): Map<number, string> {
  const names = new Map<number, string>();
  for (let tries = 1;; tries++) {
    const outcome = queries.readTable(dumpLinks, (message) => {
      const decoded = decodeLink(message);
      if (decoded !== undefined) names.set(decoded.ifindex, decoded.link.name);
    });
    // An interrupted dump may miss devices: add what the next one finds.
    if (outcome === "complete" || tries === DUMP_TRIES) return names;
  }
}

/**
 * Indexes of devices by name, each looked up once until it is forgotten.
 *
 * An index is never that of another device. The kernel may give the name to another device (the
 * device is deleted or renamed), but announces that before another program's request for it is
 * answered. So an index stays as long as there is a monitor, which has read every notification, and
 * none of them was about a device; `NetlinkKernel` checks that before each part of a batch. What
 * remains is a change between this check and the batch, as between any look-up and its use: for an
 * index without a device the kernel refuses the change (ENODEV), and the index is looked up again.
 */
export class Ifindexes {
  readonly #queries: Channel<RtnetlinkEncoder>;
  readonly #known = new Map<string, number | undefined>();

  constructor(queries: Channel<RtnetlinkEncoder>) {
    this.#queries = queries;
  }

  /** `undefined` if there is no such device; 0 for the empty name, which stands for no device. */
  of(name: string): number | undefined {
    if (name === "") return 0;
    if (!this.#known.has(name)) this.#known.set(name, findLink(this.#queries, name)?.ifindex);
    return this.#known.get(name);
  }

  forget(name: string): void {
    this.#known.delete(name);
  }

  forgetAll(): void {
    this.#known.clear();
  }
}
