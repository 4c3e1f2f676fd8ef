/**
 * Nexthop objects (linux/nexthop.h, since Linux 5.3) below many IPv4 routes.
 *
 * The kernel compares the next hop of each new IPv4 route with those that it has, found by a hash
 * that leaves the gateway out (fib_info_hashfn, net/ipv4/fib_semantics.c): n routes to n gateways of
 * one device take n² steps. A route that names a nexthop object is found by the object's id.
 *
 * An object is ours when it has our protocol number and its id is its own gateway. Ids are chosen by
 * whoever makes them: those that the kernel or a routing daemon hands out are small, far away from
 * any address. An id that is taken is left alone, and its route made without.
 *
 * An object that no route uses does no harm, and is used again when its gateway comes back; it goes
 * with its device at the latest. One that is deleted takes its routes along, without a word.
 */

import { familyOf, IPV4_UNSPECIFIED } from "../addr/ip.ts";
import { type Route, RTPROT_FLANNEL } from "../state/resource.ts";
import { writeAddress } from "./address_bytes.ts";
import { type DecodedNexthop, decodeNexthop, nexthopIdOf } from "./decoder.ts";
import type { Encoder } from "./encoder.ts";
import { errnoName } from "./errno.ts";
import { readTable, sendBatch } from "./exchange.ts";
import { DUMP_TRIES } from "./interrupted.ts";
import { KernelError } from "./kernel.ts";
import type { NetlinkSocket } from "./socket.ts";

/**
 * So many routes at once by one device are made with nexthop objects. Up to here, making them
 * without costs no more than a few milliseconds, and what `ip route` shows stays as it always was.
 */
export const NEXTHOPS_FROM_ROUTES = 500;

/** Id of the nexthop object that would serve this route; 0 if none can. */
export function nexthopIdFor(route: Route): number {
  const { gateway } = route;
  const isEligible = route.type === "unicast" && route.onlink && gateway !== undefined &&
    gateway !== IPV4_UNSPECIFIED && familyOf(gateway) === 4 && familyOf(route.destination) === 4 &&
    route.source === undefined && route.protocol === RTPROT_FLANNEL;
  if (!isEligible) return 0;
  writeAddress(gateway, scratch);
  return scratchView.getUint32(0, false);
}

/** Whether this program made a nexthop object, now or before a restart. */
export function isOurNexthop(nexthop: DecodedNexthop): boolean {
  return nexthop.protocol === RTPROT_FLANNEL && nexthop.onlink && nexthop.ifindex !== 0 &&
    nexthop.gateway === nexthop.id;
}

export class Nexthops {
  readonly #socket: NetlinkSocket;
  readonly #encoder: Encoder;
  #isSupported = true;

  constructor(socket: NetlinkSocket, encoder: Encoder) {
    this.#socket = socket;
    this.#encoder = encoder;
  }

  /** Whether the kernel knows nexthop objects, as far as has been tried. */
  get isSupported(): boolean {
    return this.#isSupported;
  }

  /** Makes what is missing of these objects on a device, and gives those that can be used. */
  make(ids: Iterable<number>, ifindex: number): ReadonlySet<number> {
    const wanted = [...new Set(ids)];
    const usable = new Set<number>();
    const taken: number[] = [];
    for (let from = 0; from < wanted.length && this.#isSupported; from += MESSAGES_AT_A_TIME) {
      const chunk = wanted.slice(from, from + MESSAGES_AT_A_TIME);
      this.#encoder.clear();
      for (const id of chunk) this.#encoder.createNexthop(id, RTPROT_FLANNEL, ifindex);
      const refusals = sendBatch(this.#socket, this.#encoder);
      for (const [index, id] of chunk.entries()) {
        const refusal = refusals.get(index);
        const code = refusal === undefined ? undefined : errnoName(refusal.errno);
        if (code === undefined) usable.add(id);
        else if (code === "EEXIST") taken.push(id);
        else if (code === "EOPNOTSUPP") this.#isSupported = false;
      }
      if (usable.size === 0 && taken.length === 0) break; // Whatever it is, the rest would meet it.
    }
    if (taken.length === 0) return usable;
    const existing = this.existing(ifindex);
    for (const id of taken) if (existing.has(id)) usable.add(id);
    return usable;
  }

  /** Ids of our objects on a device. */
  existing(ifindex: number): ReadonlySet<number> {
    const ours = this.#read(ifindex)?.filter(isOurNexthop) ?? [];
    return new Set(ours.filter((nexthop) => nexthop.ifindex === ifindex).map(({ id }) => id));
  }

  /** Deletes those of our objects that no route of any table, and no group, uses any more. */
  dropUnused(): void {
    const nexthops = this.#read(0);
    if (nexthops === undefined) return;
    const unused = new Set(nexthops.filter(isOurNexthop).map(({ id }) => id));
    for (const { members } of nexthops) for (const id of members) unused.delete(id);
    if (unused.size === 0) return;
    const outcome = readTable(
      this.#socket,
      this.#encoder,
      (encoder) => encoder.dumpEveryTable(),
      (message) => unused.delete(nexthopIdOf(message)),
    );
    if (outcome === "interrupted") return; // A later change tries again.
    const ids = [...unused];
    for (let from = 0; from < ids.length; from += MESSAGES_AT_A_TIME) {
      for (const id of ids.slice(from, from + MESSAGES_AT_A_TIME)) this.#encoder.deleteNexthop(id);
      sendBatch(this.#socket, this.#encoder); // What is refused is gone, or stays: both will do.
    }
  }

  /** All objects, or those on a device; `undefined` if they cannot be read. */
  #read(ifindex: number): DecodedNexthop[] | undefined {
    for (let tries = 0; tries < DUMP_TRIES && this.#isSupported; tries++) {
      const nexthops: DecodedNexthop[] = [];
      try {
        const outcome = readTable(
          this.#socket,
          this.#encoder,
          (encoder) => encoder.dumpNexthops(ifindex),
          (message) => {
            const nexthop = decodeNexthop(message);
            if (nexthop !== undefined) nexthops.push(nexthop);
          },
        );
        if (outcome === "complete") return nexthops;
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        if (error.code === "EOPNOTSUPP") this.#isSupported = false;
        return undefined;
      }
    }
    return undefined;
  }
}

const MESSAGES_AT_A_TIME = 100;
const scratch = new Uint8Array(16);
const scratchView = new DataView(scratch.buffer);
