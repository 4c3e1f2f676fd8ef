/**
 * Nexthop objects (linux/nexthop.h, since Linux 5.3) for large numbers of IPv4 routes.
 *
 * The kernel compares the next hop of each new IPv4 route with existing ones, which it finds by a
 * hash that ignores the gateway (fib_info_hashfn, net/ipv4/fib_semantics.c): n routes to n gateways
 * on one device take n² steps. The next hop of a route with a nexthop object is found by the
 * object's id.
 *
 * An object is ours if it has our protocol number, and its id is its own gateway. Ids assigned by
 * the kernel or a routing daemon are small numbers, unlike any address. If an id is taken, the
 * object is left alone, and the route is created without one.
 *
 * An unused object is harmless, and is used again when its gateway returns; it is deleted with its
 * device at the latest. The deletion of an object deletes its routes without notifications.
 */

import { errnoName } from "../../../ffi/errno.ts";
import { familyOf, IPV4_UNSPECIFIED } from "../../addr/ip.ts";
import { type Route, RTPROT_FLANNEL } from "../../state/resource.ts";
import { writeAddress } from "../wire/address_bytes.ts";
import type { Channel } from "../wire/channel.ts";
import { DUMP_TRIES } from "../wire/interrupted_dump.ts";
import { KernelError } from "../wire/kernel_error.ts";
import type { MessageBatch } from "../wire/message_batch.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";
import { type DecodedNexthop, decodeNexthop, nexthopIdOf } from "./nexthop_decoder.ts";
import {
  createNexthop,
  deleteNexthop,
  dumpAllRoutes,
  dumpNexthops,
  getNexthop,
} from "./nexthop_messages.ts";

/** Id of the nexthop object that this route can use; 0 if none. */
export function nexthopIdFor(route: Route): number {
  const { gateway } = route;
  const isEligible = route.type === "unicast" && route.onlink && gateway !== undefined &&
    gateway !== IPV4_UNSPECIFIED && familyOf(gateway) === 4 && familyOf(route.destination) === 4 &&
    route.source === undefined && route.protocol === RTPROT_FLANNEL;
  if (!isEligible) return 0;
  writeAddress(gateway, scratch);
  return scratchView.getUint32(0, false);
}

/** Whether this program created a nexthop object, now or before a restart. */
export function isOurNexthop(nexthop: DecodedNexthop): boolean {
  return nexthop.protocol === RTPROT_FLANNEL && nexthop.onlink && nexthop.ifindex !== 0 &&
    nexthop.gateway === nexthop.id;
}

/** Our nexthop objects in the kernel, as far as known. */
export class Nexthops {
  readonly #channel: Channel<MessageBatch>;
  #isSupported = true;
  /** The device of each of our objects that has been created, looked up or read, by id. */
  #known = new Map<number, number>();
  /** All objects have been read, so those that are not known do not exist or are not ours. */
  #isComplete = false;
  #lookUps = 0;
  /** Removals of routes that may have used an object, since unused objects were last looked for. */
  #removals = 0;

  constructor(channel: Channel<MessageBatch>) {
    this.#channel = channel;
  }

  /** Whether the kernel has nexthop objects; true until an attempt fails. */
  get isSupported(): boolean {
    return this.#isSupported;
  }

  /** Creates those of these objects that are missing on a device; returns those that are usable. */
  create(ids: Iterable<number>, ifindex: number): ReadonlySet<number> {
    const wanted = [...new Set(ids)];
    const usable = new Set<number>();
    const taken: number[] = [];
    for (let from = 0; from < wanted.length && this.#isSupported; from += MESSAGES_AT_A_TIME) {
      const chunk = wanted.slice(from, from + MESSAGES_AT_A_TIME);
      const refusals = this.#send(chunk, (encoder, id) => {
        createNexthop(encoder, id, ifindex);
      });
      for (const [index, id] of chunk.entries()) {
        const refusal = refusals.get(index);
        const code = refusal === undefined ? undefined : errnoName(refusal.errno);
        if (code === undefined) usable.add(id);
        else if (code === "EEXIST") taken.push(id);
        else if (code === "EOPNOTSUPP") this.#isSupported = false;
      }
      if (usable.size === 0 && taken.length === 0) break; // the others would fail, too
    }
    for (const id of usable) this.#known.set(id, ifindex);
    if (taken.length === 0) return usable;
    this.#readAll(); // to see which of the taken ones are ours
    for (const id of taken) if (this.#known.get(id) === ifindex) usable.add(id);
    return usable;
  }

  /**
   * Whether this object is ours and on this device. Of objects that an earlier run created, the
   * first few are looked up one by one: reading 10 000 takes 30 ms or more.
   */
  exists(id: number, ifindex: number): boolean {
    if (!this.#known.has(id) && !this.#isComplete && this.#isSupported) {
      if (this.#lookUps++ < MAX_LOOK_UPS) this.#lookUp(id);
      else this.#readAll();
    }
    return this.#known.get(id) === ifindex;
  }

  /** Another program deleted this object. */
  forget(id: number): void {
    this.#known.delete(id);
  }

  /** A route that may have used one of our objects was deleted or replaced. */
  noteRemoval(): void {
    if (this.#known.size > 0 || !this.#isComplete && this.#isSupported) this.#removals++;
  }

  /**
   * Occasionally deletes our objects that no route uses any more. The kernel does not count the
   * routes of an object, so all routes must be read. That is postponed until it costs, for each
   * removed route, no more than reading `READ_PER_REMOVAL` objects: many nodes that leave one after
   * the other would otherwise cause as many dumps.
   */
  dropUnused(): void {
    if (this.#removals === 0) return;
    if (this.#removals * READ_PER_REMOVAL < this.#probableCount) return;
    this.#removals = 0;
    const nexthops = this.#readAll();
    if (nexthops === undefined) return;
    const unused = new Set(this.#known.keys());
    for (const { members } of nexthops) for (const id of members) unused.delete(id);
    if (unused.size === 0) return;
    const outcome = this.#channel.readTable(
      dumpAllRoutes,
      (message) => unused.delete(nexthopIdOf(message)),
    );
    if (outcome === "interrupted") return; // tried again after a later change
    const ids = [...unused];
    for (let from = 0; from < ids.length; from += MESSAGES_AT_A_TIME) {
      // A refusal does not matter: the object is gone, or stays unused.
      this.#send(ids.slice(from, from + MESSAGES_AT_A_TIME), (encoder, id) => {
        deleteNexthop(encoder, id);
      });
    }
    for (const id of ids) this.forget(id);
  }

  /** How many of our objects there are; an estimate while there may be some of an earlier run. */
  get #probableCount(): number {
    const { size } = this.#known;
    const isKnown = this.#isComplete || size > 0 && this.#lookUps === 0;
    return isKnown ? size : Math.max(size, UNKNOWN_COUNT);
  }

  #lookUp(id: number): void {
    let found: DecodedNexthop | undefined;
    const refusal = this.#channel.get(
      (encoder) => getNexthop(encoder, id),
      (reply) => void (found = decodeNexthop(reply)),
    );
    if (refusal !== undefined && errnoName(refusal.errno) === "EOPNOTSUPP") {
      this.#isSupported = false;
    }
    if (found !== undefined && isOurNexthop(found)) this.#known.set(id, found.ifindex);
  }

  /** Reads all objects, ours or not; `undefined` if they cannot be read. */
  #readAll(): readonly DecodedNexthop[] | undefined {
    const nexthops = this.#read();
    this.#isComplete = nexthops !== undefined;
    this.#known.clear();
    for (const nexthop of nexthops ?? []) {
      if (isOurNexthop(nexthop)) this.#known.set(nexthop.id, nexthop.ifindex);
    }
    return nexthops;
  }

  #send(
    ids: readonly number[],
    encode: (batch: MessageBatch, id: number) => void,
  ): Map<number, NetlinkRefusal> {
    const { encoder } = this.#channel;
    encoder.clear();
    for (const id of ids) encode(encoder, id);
    return this.#channel.send();
  }

  /** All objects, ours or not; `undefined` if they cannot be read. */
  #read(): DecodedNexthop[] | undefined {
    for (let tries = 0; tries < DUMP_TRIES && this.#isSupported; tries++) {
      const nexthops: DecodedNexthop[] = [];
      try {
        const outcome = this.#channel.readTable(
          dumpNexthops,
          (message) => {
            const nexthop = decodeNexthop(message);
            if (nexthop !== undefined) nexthops.push(nexthop);
          },
        );
        if (outcome === "complete") return nexthops;
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        if (error.errno === "EOPNOTSUPP") this.#isSupported = false;
        return undefined;
      }
    }
    return undefined;
  }
}

const MESSAGES_AT_A_TIME = 100;
/** Reading this many objects and their routes takes about 0.05 ms, less than removing a peer. */
const READ_PER_REMOVAL = 20;
/** Look-ups of single objects before all are read. A look-up takes less than 0.1 ms. */
const MAX_LOOK_UPS = 200;
/** The number of objects that is assumed before they have been read. */
const UNKNOWN_COUNT = READ_PER_REMOVAL * MAX_LOOK_UPS;
const scratch = new Uint8Array(16);
const scratchView = new DataView(scratch.buffer);
