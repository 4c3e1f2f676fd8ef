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

import { errnoName } from "../../../ffi/errno.ts";
import { familyOf, IPV4_UNSPECIFIED } from "../../addr/ip.ts";
import { type Route, RTPROT_FLANNEL } from "../../state/resource.ts";
import { writeAddress } from "../wire/address_bytes.ts";
import type { Channel } from "../wire/channel.ts";
import { type DecodedNexthop, decodeNexthop, nexthopIdOf } from "./nexthop_decoder.ts";
import { DUMP_TRIES } from "../wire/interrupted_dump.ts";
import { KernelError } from "../wire/kernel_error.ts";
import type { MessageBatch } from "../wire/message_batch.ts";
import { createNexthop, deleteNexthop, dumpEveryTable, dumpNexthops } from "./nexthop_messages.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";

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

/** Our nexthop objects, and which of them the kernel holds as far as is known. */
export class Nexthops {
  readonly #channel: Channel<MessageBatch>;
  #isSupported = true;
  /** Devices of our objects by id; `undefined` until the kernel has been asked. */
  #known: Map<number, number> | undefined;
  /** Routes that may have used one of them and have gone since unused ones were looked for. */
  #suspects = 0;

  constructor(channel: Channel<MessageBatch>) {
    this.#channel = channel;
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
      if (usable.size === 0 && taken.length === 0) break; // Whatever it is, the rest would meet it.
    }
    for (const id of usable) this.#known?.set(id, ifindex);
    if (taken.length === 0) return usable;
    this.#known = undefined; // Whose those are, is looked up: it may have changed.
    const ours = this.#ours();
    for (const id of taken) if (ours.get(id) === ifindex) usable.add(id);
    return usable;
  }

  /** Whether this object is ours and on this device. Reads all objects the first time. */
  isThere(id: number, ifindex: number): boolean {
    return this.#ours().get(id) === ifindex;
  }

  /** Somebody else deleted this object. */
  forget(id: number): void {
    this.#known?.delete(id);
  }

  /** A route that may have used one of our objects has gone or been replaced. */
  suspectUnused(): void {
    if (this.#ours().size > 0) this.#suspects++;
  }

  /**
   * Deletes our objects that no route uses any more, once in a while: the kernel does not count an
   * object's routes, so that all of them have to be read. This is put off until it costs each route
   * that has gone no more than the reading of `READ_PER_SUSPECT` objects.
   */
  dropUnused(): void {
    if (this.#suspects === 0) return;
    if (this.#suspects * READ_PER_SUSPECT < (this.#known?.size ?? 0)) return;
    this.#suspects = 0;
    const nexthops = this.#read();
    if (nexthops === undefined) return;
    this.#know(nexthops);
    const unused = new Set(this.#ours().keys());
    for (const { members } of nexthops) for (const id of members) unused.delete(id);
    if (unused.size === 0) return;
    const outcome = this.#channel.readTable(
      dumpEveryTable,
      (message) => unused.delete(nexthopIdOf(message)),
    );
    if (outcome === "interrupted") return; // A later change tries again.
    const ids = [...unused];
    for (let from = 0; from < ids.length; from += MESSAGES_AT_A_TIME) {
      // What is refused is gone, or stays: both will do.
      this.#send(ids.slice(from, from + MESSAGES_AT_A_TIME), (encoder, id) => {
        deleteNexthop(encoder, id);
      });
    }
    for (const id of ids) this.forget(id);
  }

  /** Ours, by id; none if they cannot be read. */
  #ours(): ReadonlyMap<number, number> {
    if (this.#known === undefined) {
      const nexthops = this.#read();
      if (nexthops === undefined) return NONE;
      this.#know(nexthops);
    }
    return this.#known ?? NONE;
  }

  #know(nexthops: readonly DecodedNexthop[]): void {
    this.#known = new Map(nexthops.filter(isOurNexthop).map(({ id, ifindex }) => [id, ifindex]));
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
/** Reading so many objects and their routes takes about 2 ms. */
const READ_PER_SUSPECT = 1000;
const NONE: ReadonlyMap<number, number> = new Map();
const scratch = new Uint8Array(16);
const scratchView = new DataView(scratch.buffer);
