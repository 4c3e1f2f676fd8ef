/**
 * UDP ports whose payload the kernel takes for packets of an IP protocol: foo over UDP, FOU
 * (linux/fou.h; ip-fou(8)). What arrives at such a port goes on as if it had come without UDP.
 *
 * Nothing announces a change, so the table is read again every few seconds while somebody watches.
 */

import { errnoName } from "../../ffi/errno.ts";
import * as k from "../../ffi/linux.ts";
import type { Clock } from "../base/clock.ts";
import { resourceKey } from "../state/resource_key.ts";
import { udpPortTaken } from "../process/udp_port.ts";
import type { FouPort, Resource, ResourceKey } from "../state/resource.ts";
import { sameResource } from "../state/same_resource.ts";
import type { Step } from "../state/step.ts";
import type { AttributeWriter } from "./wire/attribute_writer.ts";
import { type GenericFamily, openFamily } from "./wire/generic_netlink.ts";
import { retryInterruptedDump } from "./wire/interrupted_dump.ts";
import type { KernelListener } from "./table/kernel_event.ts";
import type { StepResult } from "./table/step_result.ts";
import { KernelError } from "./wire/kernel_error.ts";
import { Poller } from "./table/poller.ts";
import { Listeners } from "./table/listeners.ts";
import { describeStep } from "./table/entry_operation.ts";
import { Attributes, type MessageReader } from "./wire/message_reader.ts";
import type { KernelTable, KernelTableType } from "./table/kernel_table.ts";
import type { NetlinkRefusal } from "./wire/netlink_socket.ts";
import { resultOf } from "./table/step_result.ts";

export const FOU_TABLE: KernelTableType = {
  kinds: ["fou"],
  open: (clock) => new FouTable(clock),
};

/** One FOU_CMD_GET entry; `undefined` for one that is not made as ours are. */
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
  /** What was read or made last, and so need not be told. */
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
      if (step.resource.kind !== "fou") throw new TypeError(`${step.resource.kind} is no FOU port`);
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
      if (family === undefined) {
        // Nothing is absent from a kernel that has none.
        return step.op === "delete"
          ? undefined
          : new KernelError({ operation: describeStep(step), errno: "EOPNOTSUPP", extack: NO_FOU });
      }
      // The kernel's answers do not tell an absent port from a malformed request, nor a port that
      // is open already from one that another program has.
      const found = (await this.#read()).get(resourceKey(wanted));
      const isWanted = step.op !== "delete";
      if (isWanted && found !== undefined && sameResource(wanted, found)) {
        this.#remember(found, true);
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
    if (refusal === undefined) this.#remember(port, true);
    else if (errnoName(refusal.errno) === "EADDRINUSE") {
      return { ...refusal, extack: udpPortTaken(port.port, "Port") };
    }
    return refusal;
  }

  #close(family: GenericFamily, port: FouPort): NetlinkRefusal | undefined {
    const refusal = family.command(k.FOU_CMD_DEL, (to) => writeAddress(to, port));
    if (refusal === undefined) this.#remember(port, false);
    return refusal;
  }

  async #poll(): Promise<void> {
    const before = this.#known;
    let after: Ports;
    try {
      after = await this.#read();
    } catch {
      return; // The next reading may succeed; those who ask for the table are told why not.
    }
    // Read or changed by somebody else meanwhile: that is newer.
    if (this.#known !== before) return;
    this.#known = after;
    for (const [key, port] of before) {
      if (!after.has(key)) {
        this.#listeners.notify({ kind: "changed", resource: port, deleted: true });
      }
    }
    for (const [key, port] of after) {
      const old = before.get(key);
      if (old !== undefined && sameResource(old, port)) continue;
      this.#listeners.notify({ kind: "changed", resource: port, deleted: false });
    }
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

  /** The module may be loaded at any time, so it is asked for each time until it is there. */
  #open(): GenericFamily | undefined {
    return this.#family ??= openFamily({ name: "fou", version: k.FOU_GENL_VERSION });
  }

  /** A new map each time, by which a reading under way knows that it is outdated. */
  #remember(port: FouPort, isOpen: boolean): void {
    const known = new Map(this.#known);
    if (isOpen) known.set(resourceKey(port), port);
    else known.delete(resourceKey(port));
    this.#known = known;
  }
}

type Ports = ReadonlyMap<ResourceKey, FouPort>;

const POLL_MS = 3000;
const NO_FOU = "this kernel has no FOU; load it with: modprobe fou";
const attributes = new Attributes();

function writeAddress(to: AttributeWriter, { port }: FouPort): void {
  to.u8(k.FOU_ATTR_AF, k.AF_INET);
  to.be16(k.FOU_ATTR_PORT, port);
}
