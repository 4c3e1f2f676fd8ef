/** The kernel's network tables of this thread's network namespace, over netlink. */

import type { IpAddress } from "../addr/ip.ts";
import { type Clock, pause } from "../base/clock.ts";
import type { Resource, ResourceKind } from "../state/resource.ts";
import type { Step } from "../state/step.ts";
import type { Kernel, LinkInfo, RouteLookup } from "./kernel.ts";
import { KernelTables } from "./kernel_tables.ts";
import { Nexthops } from "./nexthop/nexthops.ts";
import { BatchRun } from "./rtnetlink/batch_run.ts";
import { completeLink } from "./rtnetlink/link_decoder.ts";
import { findLink, Ifindexes, readLinkNames } from "./rtnetlink/links.ts";
import { Monitor } from "./rtnetlink/monitor.ts";
import { lookUpRoute } from "./rtnetlink/route_lookup.ts";
import { RtnetlinkEncoder } from "./rtnetlink/rtnetlink_encoder.ts";
import { readTables } from "./rtnetlink/table_dump.ts";
import type { KernelListener } from "./table/kernel_event.ts";
import type { KernelTableType } from "./table/kernel_table.ts";
import { Listeners } from "./table/listeners.ts";
import type { StepResult } from "./table/step_result.ts";
import { Channel } from "./wire/channel.ts";
import { retryInterruptedDump } from "./wire/interrupted_dump.ts";
import { NetlinkSocket } from "./wire/netlink_socket.ts";

export interface NetlinkKernelOptions {
  readonly clock: Clock;
  /** Kernel-side buffer for notifications; by default 32 MiB, or less if the kernel limits it. */
  readonly watchBufferBytes?: number;
}

export class NetlinkKernel implements Kernel {
  readonly #socket = new NetlinkSocket();
  readonly #queries = new Channel(this.#socket, new RtnetlinkEncoder());
  readonly #changes = new Channel(this.#socket, new RtnetlinkEncoder());
  readonly #ifindexes = new Ifindexes(this.#queries);
  readonly #nexthops = new Nexthops(this.#queries);
  readonly #clock: Clock;
  readonly #watchBufferBytes: number;
  readonly #listeners = new Listeners(() => this.#stopMonitor());
  /** Shared by all listeners: each message is received and decoded once. */
  #monitor: Monitor | undefined;
  readonly #tables: KernelTables;

  /**
   * Works in the network namespace of the calling thread. Throws `KernelError` without netlink, and
   * `LibraryError` without libnl.
   */
  constructor({ clock, watchBufferBytes = WATCH_BUFFER_BYTES }: NetlinkKernelOptions) {
    this.#clock = clock;
    this.#watchBufferBytes = watchBufferBytes;
    this.#tables = new KernelTables(clock, (event) => this.#listeners.notify(event));
  }

  async dump(kinds: readonly ResourceKind[], links?: ReadonlySet<string>): Promise<Resource[]> {
    const read = () => readTables(this.#queries, kinds, links);
    const resources = await retryInterruptedDump(this.#clock, read);
    return [...resources, ...await this.#tables.dump(kinds, links)];
  }

  apply(steps: readonly Step[]): Promise<StepResult[]> {
    const parts = partsOf(steps, (step) => this.#tables.typeFor(step));
    // A changed lease of most backends is one part.
    return parts.length === 1 && parts[0]?.type === undefined
      ? this.#applyToRtnetlink(steps)
      : this.#applyParts(parts);
  }

  async #applyParts(parts: readonly StepsOfTable[]): Promise<StepResult[]> {
    const results: StepResult[] = [];
    for (const { type, steps: part } of parts) {
      const partResults = type === undefined
        ? await this.#applyToRtnetlink(part)
        : await this.#applyToTable(type, part);
      for (const result of partResults) results.push(result);
    }
    return results;
  }

  watch(listener: KernelListener): Disposable {
    this.#monitor ??= new Monitor({
      clock: this.#clock,
      receiveBufferBytes: this.#watchBufferBytes,
      linkNames: () => readLinkNames(this.#queries),
      ownPortId: this.#socket.portId,
      onLinksChanged: () => this.#ifindexes.forgetAll(),
      listener: (event) => this.#listeners.notify(event),
    });
    this.#tables.watch();
    return this.#listeners.add(listener);
  }

  routeTo(address: IpAddress): Promise<RouteLookup> {
    return Promise.try(() => lookUpRoute(this.#queries, address));
  }

  link(name: string): Promise<LinkInfo | undefined> {
    return Promise.try(() => {
      const decoded = findLink(this.#queries, name);
      if (decoded === undefined) return undefined;
      const names = new Map<number, string>();
      const underlay = findLink(this.#queries, decoded.underlayIndex);
      if (underlay !== undefined) names.set(underlay.ifindex, underlay.link.name);
      return { ifindex: decoded.ifindex, link: completeLink(decoded, names) };
    });
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#stopMonitor();
    this.#tables[Symbol.dispose]();
    this.#queries.encoder[Symbol.dispose]();
    this.#changes.encoder[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
  }

  /**
   * A kernel table creates a device with default attributes; rtnetlink then sets its MTU and state.
   * Before the step has its result, listeners have the finished device: what they saw until then
   * may be one that no program answers for yet, which looks like a device of another program.
   */
  async #applyToTable(type: KernelTableType, steps: readonly Step[]): Promise<StepResult[]> {
    const results = [...await this.#tables.apply(type, steps)];
    for (const [i, { op, resource }] of steps.entries()) {
      if (op !== "set" || resource.kind !== "link" || results[i] !== undefined) continue;
      const from = findLink(this.#queries, resource.name)?.link;
      if (from === undefined) continue; // Deleted again; its notification will follow.
      results[i] = (await this.#applyToRtnetlink([{ op: "change", resource, from }]))[0];
      await pause(this.#clock, NOTIFIED_MS);
      const finished = await this.link(resource.name);
      if (finished === undefined) continue;
      this.#listeners.notify({ kind: "changed", resource: finished.link, deleted: false });
    }
    return results;
  }

  async #applyToRtnetlink(steps: readonly Step[]): Promise<StepResult[]> {
    const run = new BatchRun({
      changes: this.#changes,
      ifindexes: this.#ifindexes,
      nexthops: this.#nexthops,
      steps,
    });
    for (let from = 0; from < steps.length; from += STEPS_AT_A_TIME) {
      // Changes cause notifications, which must be read in between.
      if (from > 0) await this.#clock.yield();
      if (!this.#monitor?.isUpToDate) this.#ifindexes.forgetAll();
      run.perform(from, Math.min(from + STEPS_AT_A_TIME, steps.length));
    }
    run.finish();
    return run.results;
  }

  #stopMonitor(): void {
    this.#tables.unwatch();
    this.#monitor?.[Symbol.dispose]();
    this.#monitor = undefined;
  }
}

/** Enough to read the notifications in the socket. */
const NOTIFIED_MS = 10;
const WATCH_BUFFER_BYTES = 32 * 1024 * 1024;
/** Steps between two turns of the event loop; they take about 10 ms. */
const STEPS_AT_A_TIME = 2000;

/** Steps for one table; for rtnetlink if that is `undefined`. */
interface StepsOfTable {
  readonly type: KernelTableType | undefined;
  readonly steps: readonly Step[];
}

/** The steps in order, split where the table changes. */
function partsOf(
  steps: readonly Step[],
  typeFor: (step: Step) => KernelTableType | undefined,
): StepsOfTable[] {
  const parts: { type: KernelTableType | undefined; steps: Step[] }[] = [];
  for (const step of steps) {
    const type = typeFor(step);
    const last = parts.at(-1);
    if (last !== undefined && last.type === type) last.steps.push(step);
    else parts.push({ type, steps: [step] });
  }
  return parts;
}
