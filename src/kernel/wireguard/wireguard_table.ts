/**
 * The kernel table of WireGuard devices and their peers. It also creates the devices of WireGuard
 * in user space, which rtnetlink cannot. rtnetlink deletes them; their process ends with its
 * device.
 *
 * The kernel does not announce changes to them. So the last known state is kept, and the devices
 * are polled while there are listeners.
 */

import { ZERO_KEY } from "../../addr/wireguard_key.ts";
import type { Clock } from "../../base/clock.ts";
import { SerialQueue } from "../../base/serial_queue.ts";
import type {
  Link,
  Resource,
  ResourceKey,
  WireguardDevice,
  WireguardPeer,
} from "../../state/resource.ts";
import { linkOf, resourceKey } from "../../state/resource_key.ts";
import type { Step } from "../../state/step.ts";
import { describeStep } from "../table/entry_operation.ts";
import type { KernelListener } from "../table/kernel_event.ts";
import type { KernelTable, KernelTableType } from "../table/kernel_table.ts";
import { Listeners } from "../table/listeners.ts";
import { Poller } from "../table/poller.ts";
import type { StepResult } from "../table/step_result.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { KernelDriver } from "./kernel_driver.ts";
import { UserspaceDriver } from "./userspace_driver.ts";
import type {
  DeviceChange,
  Fault,
  PeerChange,
  WireguardDeviceState,
  WireguardDriver,
} from "./wireguard_driver.ts";
import {
  assignedEndpoint,
  changedPeer,
  deviceResource,
  peerChange,
  peerResource,
  sameReading,
} from "./wireguard_peers.ts";
import { startUserspace } from "./wireguard_support.ts";

export const WIREGUARD_TABLE: KernelTableType = {
  kinds: ["wireguard-device", "wireguard-peer"],
  creates: isUserspaceDevice,
  open: (clock) => new WireguardTable(clock),
};

/** The pause between polls that take `costMs`. */
export function pollDelayMs(costMs: number): number {
  return Math.min(Math.max(costMs / POLL_SHARE, MIN_POLL_MS), MAX_POLL_MS);
}

class WireguardTable implements KernelTable {
  readonly #clock: Clock;
  readonly #drivers: readonly WireguardDriver[];
  /** By name: the devices that were asked for and exist. */
  readonly #devices = new Map<string, Device>();
  readonly #listeners = new Listeners(() => this.#poller.stop());
  /** One task at a time: listeners are notified of what was read before anything is changed. */
  readonly #tasks = new SerialQueue();
  readonly #poller: Poller;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#drivers = [new KernelDriver(clock), new UserspaceDriver(clock)];
    this.#poller = new Poller(clock, async () => {
      return pollDelayMs(await this.#tasks.run(() => this.#poll()));
    });
  }

  dump(links: ReadonlySet<string>): Promise<Resource[]> {
    return this.#tasks.run(async () => {
      const found: Resource[] = [];
      for (const link of links) {
        for (const entry of (await this.#read(link))?.entries.values() ?? []) found.push(entry);
      }
      return found;
    });
  }

  apply(steps: readonly Step[]): Promise<readonly StepResult[]> {
    return this.#tasks.run(async () => {
      const results: StepResult[] = [];
      for (const run of runsOf(steps)) results.push(...await this.#applyRun(run));
      return results;
    });
  }

  watch(listener: KernelListener): Disposable {
    this.#poller.start(MIN_POLL_MS);
    return this.#listeners.add(listener);
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#poller.stop();
    void this.#tasks.run(() => {
      for (const driver of this.#drivers) driver[Symbol.dispose]();
      return Promise.resolve();
    });
  }

  /** Reads a device and remembers it. Tries the driver that had the device last time first. */
  async #read(link: string): Promise<Device | undefined> {
    const before = this.#devices.get(link);
    const drivers = before === undefined ? this.#drivers : [
      before.driver,
      ...this.#drivers.filter((driver) => driver !== before.driver),
    ];
    for (const driver of drivers) {
      const reading = await driver.read(link);
      if (reading === undefined) continue;
      const isSameDevice = before?.driver === driver && before.identity === reading.identity;
      const assigned = isSameDevice ? before.assigned : new Map<ResourceKey, string>();
      const { identity } = reading;
      const entries = entriesOf(link, reading, { assigned, nowMs: this.#clock.wallMs() });
      const device = { link, driver, identity, assigned, entries };
      this.#devices.set(link, device);
      return device;
    }
    this.#devices.delete(link);
    return undefined;
  }

  /** Changes one device. If a change of several peers is refused, they are tried one by one. */
  async #applyRun(run: Run): Promise<StepResult[]> {
    const fault = await this.#tryRun(run);
    if (fault === undefined) return run.steps.map(() => undefined);
    if (run.steps.length === 1 || fault.errno === "ENODEV") {
      return run.steps.map((step) => resultOf(step, fault));
    }
    const results: StepResult[] = [];
    for (const step of run.steps) {
      results.push(resultOf(step, await this.#tryRun({ ...run, steps: [step] })));
    }
    return results;
  }

  async #tryRun(run: Run): Promise<Fault | undefined> {
    try {
      if (run.steps.some(isUserspaceStart)) return await startUserspace(this.#clock, run.link);
      let device = this.#devices.get(run.link) ?? await this.#read(run.link);
      let fault = device && await this.#write(device, run.steps);
      if (fault?.errno === "ENODEV") {
        // Deleted since it was read, and perhaps recreated under its name.
        device = await this.#read(run.link);
        fault = device && await this.#write(device, run.steps);
      }
      if (device !== undefined) return fault;
      return { errno: "ENODEV", reason: `there is no WireGuard device ${run.link}` };
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return { errno: error.errno, reason: error.message };
    }
  }

  async #write(device: Device, steps: readonly Step[]): Promise<Fault | undefined> {
    const plans = steps.map((step) => planFor(device, step));
    const change = { ...plans[0]?.device, peers: plans.flatMap(({ peer }) => peer ?? []) };
    const fault = await device.driver.write(device.link, device.identity, change);
    if (fault !== undefined) return fault;
    for (const { record } of plans) record();
    return undefined;
  }

  /** Reads all known devices and notifies of differences; returns the milliseconds that it took. */
  async #poll(): Promise<number> {
    const startMs = this.#clock.nowMs();
    for (const [link, before] of [...this.#devices]) {
      let after: Device | undefined;
      try {
        after = await this.#read(link);
      } catch {
        continue; // `dump` and `apply` report the reason.
      }
      this.#listeners.notifyDifferences(before.entries, after?.entries ?? NO_ENTRIES, sameReading);
    }
    return this.#clock.nowMs() - startMs;
  }
}

type Entries = Map<ResourceKey, WireguardDevice | WireguardPeer>;

const NO_ENTRIES: Entries = new Map();

/** A device as last read or changed. */
interface Device {
  readonly link: string;
  readonly driver: WireguardDriver;
  readonly identity: number;
  readonly entries: Entries;
  /** Endpoints that this process assigned to peers. */
  readonly assigned: Map<ResourceKey, string>;
}

/** Steps for one device that may be performed together. */
interface Run {
  readonly link: string;
  readonly steps: readonly Step[];
}

/** A step as a change of the device or of a peer, and how to record it once it is made. */
interface StepPlan {
  readonly device?: Omit<DeviceChange, "peers">;
  readonly peer?: PeerChange;
  readonly record: () => void;
}

/** Drift is noticed within two seconds if a poll takes up to 8 ms, as for a few thousand peers. */
const MIN_POLL_MS = 2000;
const MAX_POLL_MS = 60_000;
/** The share of one CPU that polling may use. */
const POLL_SHARE = 0.004;

function isUserspaceDevice(link: Link): boolean {
  return link.type === "wireguard" && link.implementation === "userspace";
}

function isUserspaceStart({ op, resource }: Step): boolean {
  return op === "set" && resource.kind === "link" && isUserspaceDevice(resource);
}

/** Consecutive steps for peers of one device form a run; any other step is a run of its own. */
function runsOf(steps: readonly Step[]): Run[] {
  const runs: { link: string; steps: Step[]; isOfPeers: boolean }[] = [];
  for (const step of steps) {
    const { resource } = step;
    const isOfPeers = resource.kind === "wireguard-peer";
    const link = linkOf(resource) ?? (resource as Link).name;
    const last = runs.at(-1);
    if (last?.isOfPeers && isOfPeers && last.link === link) last.steps.push(step);
    else runs.push({ link, steps: [step], isOfPeers });
  }
  return runs;
}

function planFor({ entries, assigned }: Device, { op, resource }: Step): StepPlan {
  const key = resourceKey(resource);
  if (op === "delete") {
    const record = () => (entries.delete(key), assigned.delete(key));
    return resource.kind === "wireguard-peer"
      ? { peer: { op: "remove", publicKey: resource.publicKey }, record }
      : { device: { privateKey: ZERO_KEY, listenPort: 0 }, record };
  }
  if (resource.kind !== "wireguard-peer") {
    const { privateKey, listenPort } = resource as WireguardDevice;
    const record = () => entries.set(key, resource as WireguardDevice);
    return { device: { privateKey, listenPort }, record };
  }
  const actual = entries.get(key) as WireguardPeer | undefined;
  const peer = peerChange(resource, actual, assigned.get(key));
  const record = () => {
    entries.set(key, changedPeer(resource, actual, peer));
    assigned.set(key, assignedEndpoint(resource));
  };
  return { peer, record };
}

function entriesOf(
  link: string,
  reading: WireguardDeviceState,
  { assigned, nowMs }: {
    readonly assigned: ReadonlyMap<ResourceKey, string>;
    readonly nowMs: number;
  },
): Entries {
  const entries: Entries = new Map();
  const device = deviceResource(link, reading);
  if (device !== undefined) entries.set(resourceKey(device), device);
  for (const peer of reading.peers) {
    const bare = peerResource(link, peer, undefined, nowMs);
    const key = resourceKey(bare);
    entries.set(key, assigned.has(key) ? peerResource(link, peer, assigned.get(key), nowMs) : bare);
  }
  return entries;
}

/** Deleting an entry of an absent device is success. */
function resultOf(step: Step, fault: Fault | undefined): StepResult {
  if (fault === undefined || step.op === "delete" && fault.errno === "ENODEV") return undefined;
  return new KernelError({
    operation: describeStep(step),
    errno: fault.errno,
    extack: fault.reason,
  });
}
