/**
 * UDP ports at which the kernel receives packets of an IP protocol inside UDP: foo over UDP, FOU
 * (linux/fou.h; ip-fou(8)). The kernel removes the UDP header and processes the packet within.
 *
 * The kernel does not announce changes, so the table is polled while there are listeners.
 */

import { errnoName } from "../../ffi/errno.ts";
import * as k from "../../ffi/linux.ts";
import type { Clock } from "../base/clock.ts";
import { udpPortTaken } from "../process/udp_port.ts";
import type { FouPort, Resource, ResourceKey } from "../state/resource.ts";
import { resourceKey } from "../state/resource_key.ts";
import { sameResource } from "../state/same_resource.ts";
import type { Step } from "../state/step.ts";
import { describeStep } from "./table/entry_operation.ts";
import type { KernelListener } from "./table/kernel_event.ts";
import type { KernelTable, KernelTableType } from "./table/kernel_table.ts";
import { Listeners } from "./table/listeners.ts";
import { Poller } from "./table/poller.ts";
import type { StepResult } from "./table/step_result.ts";
import { resultOf } from "./table/step_result.ts";
import type { AttributeWriter } from "./wire/attribute_writer.ts";
import { type GenericFamily, openFamily } from "./wire/generic_netlink.ts";
import { retryInterruptedDump } from "./wire/interrupted_dump.ts";
import { KernelError } from "./wire/kernel_error.ts";
import { Attributes, type MessageReader } from "./wire/message_reader.ts";
import type { NetlinkRefusal } from "./wire/netlink_socket.ts";

export const FOU_TABLE: KernelTableType = {
  kinds: ["fou"],
  open: (clock) => new FouTable(clock),
};

/** One FOU_CMD_GET entry; `undefined` if it has options that ours never have. */
export function decodeFouPort(message: MessageReader, attributesAt: number): FouPort | undefined {
  const read = attributes.read(message, attributesAt, message.end);
  const port = read.be16(k.FOU_ATTR_PORT);
  const protocol = read.u8(k.FOU_ATTR_IPPROTO);
  const isOpenToAll = [
    read.u32(k.FOU_ATTR_LOCAL_V4),
    read.be16(k.FOU_ATTR_PEER_PORT),
    read.u32(k.FOU_ATTR_IFINDEX),
  ].every((limit) => limit === undefined || limit === 0);
  const isOurKind = read.u8(k.FOU_ATTR_AF) === k.AF_INET &&
    read.u8(k.FOU_ATTR_TYPE) === k.FOU_ENCAP_DIRECT && isOpenToAll;
  if (!isOurKind || port === undefined || protocol === undefined) return undefined;
  return { kind: "fou", port, protocol };
}

class FouTable implements KernelTable {
  readonly #clock: Clock;
  readonly #poller: Poller;
  #family: GenericFamily | undefined;
  readonly #listeners = new Listeners(() => this.#poller.stop());
  /** The ports as last read or changed here: listeners need not be notified of these. */
  #known: Ports = new Map();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#poller = new Poller(clock, () => this.#poll().then(() => POLL_MS));
  }

  async dump(): Promise<Resource[]> {
    this.#known = await this.#read();
    return [...this.#known.values()];
  }

  async apply(steps: readonly Step[]): Promise<readonly StepResult[]> {
    const results: StepResult[] = [];
    for (const step of steps) {
      if (step.resource.kind !== "fou") {
        throw new TypeError(`${step.resource.kind} is not a FOU port`);
      }
      results.push(await this.#applyOne(step, step.resource));
    }
    return results;
  }

  watch(listener: KernelListener): Disposable {
    this.#poller.start(POLL_MS);
    return this.#listeners.add(listener);
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#poller.stop();
    this.#family?.[Symbol.dispose]();
    this.#family = undefined;
  }

  async #applyOne(step: Step, wanted: FouPort): Promise<StepResult> {
    try {
      const family = this.#open();
      if (family === undefined) { // and so no port is open
        return step.op === "delete"
          ? undefined
          : new KernelError({ operation: describeStep(step), errno: "EOPNOTSUPP", extack: NO_FOU });
      }
      // The kernel's errors do not distinguish an absent port from a malformed request, nor a port
      // that is open already from one that another program uses.
      const found = (await this.#read()).get(resourceKey(wanted));
      const isWanted = step.op !== "delete";
      if (isWanted && found !== undefined && sameResource(wanted, found)) {
        this.#noteOpen(found);
        return undefined;
      }
      let refusal = found && this.#close(family, found);
      if (isWanted) refusal ??= this.#openPort(family, wanted);
      return resultOf(step, refusal);
    } catch (error) {
      if (error instanceof KernelError) return error;
      throw error;
    }
  }

  #openPort(family: GenericFamily, port: FouPort): NetlinkRefusal | undefined {
    const refusal = family.command(k.FOU_CMD_ADD, (to) => {
      writeAddress(to, port);
      to.u8(k.FOU_ATTR_IPPROTO, port.protocol);
      to.u8(k.FOU_ATTR_TYPE, k.FOU_ENCAP_DIRECT);
    });
    if (refusal === undefined) this.#noteOpen(port);
    else if (errnoName(refusal.errno) === "EADDRINUSE") {
      return { ...refusal, extack: udpPortTaken(port.port, "Port") };
    }
    return refusal;
  }

  #close(family: GenericFamily, port: FouPort): NetlinkRefusal | undefined {
    const refusal = family.command(k.FOU_CMD_DEL, (to) => writeAddress(to, port));
    if (refusal === undefined) this.#noteClosed(port);
    return refusal;
  }

  async #poll(): Promise<void> {
    const before = this.#known;
    let after: Ports;
    try {
      after = await this.#read();
    } catch {
      return; // The next poll may succeed; `dump` and `apply` report the reason.
    }
    // Read or changed meanwhile: what was read here is out of date.
    if (this.#known !== before) return;
    this.#known = after;
    this.#listeners.notifyDifferences(before, after, sameResource);
  }

  #read(): Promise<Ports> {
    return retryInterruptedDump(this.#clock, () => {
      const ports = new Map<ResourceKey, FouPort>();
      const outcome = this.#open()?.dump(
        k.FOU_CMD_GET,
        () => undefined,
        (message, attributesAt) => {
          const port = decodeFouPort(message, attributesAt);
          if (port !== undefined) ports.set(resourceKey(port), port);
        },
      );
      return outcome === "interrupted" ? { interrupted: "FOU" } : { result: ports };
    });
  }

  /** Tried again until the kernel has it: the module may be loaded at any time. */
  #open(): GenericFamily | undefined {
    return this.#family ??= openFamily({ name: "fou", version: k.FOU_GENL_VERSION });
  }

  // A new map at each change: `#poll` notices by it that what it read meanwhile is out of date.

  #noteOpen(port: FouPort): void {
    this.#known = new Map(this.#known).set(resourceKey(port), port);
  }

  #noteClosed(port: FouPort): void {
    const known = new Map(this.#known);
    known.delete(resourceKey(port));
    this.#known = known;
  }
}

type Ports = ReadonlyMap<ResourceKey, FouPort>;

const POLL_MS = 3000;
const NO_FOU = "this kernel has no FOU; load the module: modprobe fou";
const attributes = new Attributes();

function writeAddress(to: AttributeWriter, { port }: FouPort): void {
  to.u8(k.FOU_ATTR_AF, k.AF_INET);
  to.be16(k.FOU_ATTR_PORT, port);
}
