/**
 * The kernel's network tables in memory. They behave as the real ones do: which changes are
 * notified, which entries vanish with others, and which requests are refused. Tests switch on
 * faults: refusals, interrupted dumps, lost notifications, a device that vanishes within a batch.
 */

import { familyOf, isLinkLocal } from "../../src/addr/ip.ts";
import {
  makePrefix,
  prefixAddress,
  prefixContainsAddress,
  prefixLength,
} from "../../src/addr/prefix.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import {
  DumpInterruptedError,
  type Kernel,
  KernelError,
  type KernelEvent,
  type LinkInfo,
  type RouteLookup,
  type StepResult,
} from "../../src/kernel/kernel.ts";
import { linkKey, linkOf, resourceKey } from "../../src/state/resource_key.ts";
import { resourceText } from "../../src/state/resource_text.ts";
import {
  type Address,
  kindOf,
  type Link,
  type Resource,
  type ResourceKey,
  type ResourceKind,
  type Route,
  VXLAN_DEFAULT_PORT,
} from "../../src/state/resource.ts";
import { sameResource } from "../../src/state/same_resource.ts";
import type { Step } from "../../src/state/step.ts";
import { stateText } from "./state_text.ts";

export class FakeKernel implements Kernel {
  readonly table = new Map<ResourceKey, Resource>();
  /** Steps that the program under test requested, as text, in order. */
  readonly asked: string[] = [];
  batches = 0;
  dumps = 0;
  lookUps = 0;

  /** Number of the next dumps that fail as interrupted. */
  interruptedDumps = 0;
  /** Returns the errno that a step is refused with; it then has no effect. */
  refuse: (step: Step) => string | undefined = () => undefined;
  /** Called between two steps of a batch, to change something at the same time. */
  betweenSteps: (done: number) => void = () => {};
  /** Called after a dump has read the tables and before it is returned. */
  afterDump: () => void = () => {};
  /** Notifications: at once, soon after, or when `deliver` is called. */
  delivery: "now" | "soon" | "held" = "soon";
  /** Awaited before a batch is acknowledged. */
  acknowledge: () => Promise<void> = () => Promise.resolve();

  readonly #listeners = new Set<(event: KernelEvent) => void>();
  #queue: KernelEvent[] = [];
  readonly #ifindexes = new Map<string, number>();
  #nextIfindex = 1;

  // ---- The port

  async dump(kinds: readonly ResourceKind[], links?: ReadonlySet<string>): Promise<Resource[]> {
    this.dumps++;
    await Promise.resolve();
    if (this.interruptedDumps > 0) {
      this.interruptedDumps--;
      throw new DumpInterruptedError("route", 5);
    }
    const found = [...this.table.values()].filter((resource) => {
      const { dump } = kindOf(resource);
      if (dump === undefined || !kinds.includes(resource.kind)) return false;
      return dump.extent === "table" || links?.has(linkOf(resource) as string) !== false;
    });
    this.afterDump();
    await Promise.resolve();
    return found;
  }

  async apply(steps: readonly Step[]): Promise<StepResult[]> {
    this.batches++;
    await Promise.resolve();
    const results: StepResult[] = [];
    for (const [i, step] of steps.entries()) {
      this.betweenSteps(i);
      this.asked.push(stepText(step));
      const code = this.refuse(step);
      results.push(code === undefined ? this.#perform(step) : refusal(step, code));
    }
    await this.acknowledge();
    return results;
  }

  watch(listener: (event: KernelEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  routeTo(address: IpAddress): Promise<RouteLookup> {
    this.lookUps++;
    return Promise.resolve(this.#lookUp(address));
  }

  link(name: string): Promise<LinkInfo | undefined> {
    const link = this.#link(name);
    return Promise.resolve(link && { ifindex: this.#ifindexes.get(name) ?? 0, link });
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
  }

  // ---- For tests

  /** Another program's change, with its consequences. Throws if the kernel refuses it. */
  outside(...steps: readonly Step[]): void {
    for (const step of steps) {
      const error = this.#perform(step);
      if (error !== undefined) throw error;
    }
  }

  /** Fills the tables without notifications. */
  seed(...resources: readonly Resource[]): void {
    for (const resource of resources) {
      this.table.set(resourceKey(resource), resource);
      if (resource.kind === "link") this.#ifindexes.set(resource.name, this.#nextIfindex++);
    }
  }

  setLinkState(name: string, state: "up" | "down"): void {
    const link = this.#link(name) as Link;
    this.outside({ op: "change", resource: { ...link, up: state === "up" }, from: link });
  }

  /** Delivers the oldest of the notifications that are held or pending. */
  deliver(count = Infinity): void {
    for (const event of this.#queue.splice(0, count)) this.#deliverEvent(event);
  }

  /** Drops the undelivered notifications and reports the overrun. */
  overrun(): void {
    this.#queue = [];
    this.#deliverEvent({ kind: "overrun" });
  }

  /** The tables as text, for goldens. */
  text(of: (resource: Resource) => boolean = () => true): string {
    return stateText([...this.table.values()].filter(of));
  }

  /** Returns and clears the requested steps, and resets the counters. */
  takeAsked(): string[] {
    this.dumps = 0;
    this.batches = 0;
    return this.asked.splice(0);
  }

  // ---- The tables

  #perform(step: Step): StepResult {
    switch (step.op) {
      case "set":
        return this.#set(step);
      case "change":
        return this.#change(step.resource);
      case "delete":
        this.#delete(step.resource);
        return undefined;
    }
  }

  #set(step: Step & { op: "set" }): StepResult {
    const { resource } = step;
    const key = resourceKey(resource);
    const found = this.table.get(key);
    if (resource.kind === "link") {
      if (found !== undefined) return refusal(step, "EEXIST");
      if (resource.type === "vxlan" && this.#link(resource.underlay) === undefined) {
        return refusal(step, "ENODEV");
      }
      const made: Link = resource.type === "vxlan" && resource.port === 0
        ? { ...resource, port: VXLAN_DEFAULT_PORT }
        : resource;
      this.#ifindexes.set(made.name, this.#nextIfindex++);
      this.#put(key, { ...made, up: false });
      this.#put(key, made);
      return undefined;
    }
    if (step.exclusive && found !== undefined) return refusal(step, "EEXIST");
    const code = this.#errnoFor(resource);
    if (code !== undefined) return refusal(step, code);
    if (found === undefined || !sameResource(found, resource)) this.#put(key, resource);
    return undefined;
  }

  #errnoFor(resource: Resource): string | undefined {
    const name = linkOf(resource);
    if (name === undefined) return undefined;
    const link = this.#link(name);
    if (link === undefined) return resource.kind === "sysctl" ? "ENOENT" : "ENODEV";
    if (resource.kind !== "route") return undefined;
    if (!link.up) return "ENETDOWN";
    const { gateway, onlink } = resource;
    if (gateway === undefined || onlink) return undefined;
    return this.#isConnected(gateway, name) ? undefined : "ENETUNREACH";
  }

  #change(wanted: Link): StepResult {
    const found = this.#link(wanted.name);
    if (found === undefined) {
      return refusal({ op: "change", resource: wanted, from: wanted }, "ENODEV");
    }
    const { mac, mtuBytes, up } = wanted;
    this.#put(linkKey(wanted.name), { ...found, mac, mtuBytes, up });
    if (found.mac !== mac) this.#flush(wanted.name, (r) => r.kind === "neighbour", "notified");
    if (found.up && !up) this.#onLinkDown(wanted.name);
    return undefined;
  }

  #delete(wanted: Resource): void {
    const key = resourceKey(wanted);
    const found = this.table.get(key);
    if (found === undefined) return;
    if (found.kind === "link") this.#ifindexes.delete(found.name);
    this.table.delete(key);
    if (found.kind === "link") {
      for (const link of [...this.table.values()]) {
        if (link.kind === "link" && link.type === "vxlan" && link.underlay === found.name) {
          this.#delete(link);
        }
      }
      this.#flush(found.name, () => true, "silent");
    }
    this.#notify({ kind: "changed", resource: found, deleted: true });
    if (found.kind === "address" && familyOf(found.address) === 4) {
      this.#onAddressRemoved(found.link);
    }
  }

  /**
   * IPv4 routes vanish silently; IPv6 addresses, IPv6 routes and neighbours with a notification.
   * FDB entries stay.
   */
  #onLinkDown(name: string): void {
    this.#flush(name, (r) => r.kind === "route" && familyOf(r.destination) === 4, "silent");
    this.#flush(
      name,
      (r) =>
        r.kind === "neighbour" || r.kind === "route" ||
        r.kind === "address" && familyOf(r.address) === 6,
      "notified",
    );
  }

  /** A device without an IPv4 address drops its IPv4 routes and neighbours. */
  #onAddressRemoved(name: string): void {
    const isV4Address = (r: Resource) =>
      r.kind === "address" && r.link === name && familyOf(r.address) === 4;
    if ([...this.table.values()].some(isV4Address)) return;
    this.#flush(name, (r) => r.kind === "route" && familyOf(r.destination) === 4, "silent");
    this.#flush(name, (r) => r.kind === "neighbour" && familyOf(r.address) === 4, "notified");
  }

  #flush(name: string, which: (resource: Resource) => boolean, how: "silent" | "notified"): void {
    for (const [key, resource] of [...this.table]) {
      if (linkOf(resource) !== name || !which(resource)) continue;
      this.table.delete(key);
      if (how === "notified") this.#notify({ kind: "changed", resource, deleted: true });
    }
  }

  #put(key: ResourceKey, resource: Resource): void {
    this.table.set(key, resource);
    if (resource.kind !== "sysctl") this.#notify({ kind: "changed", resource, deleted: false });
  }

  #link(name: string): Link | undefined {
    return this.table.get(linkKey(name)) as Link | undefined;
  }

  #isConnected(address: IpAddress, link?: string): Address | undefined {
    for (const resource of this.table.values()) {
      if (resource.kind !== "address" || link !== undefined && resource.link !== link) continue;
      if (prefixContainsAddress(makePrefix(resource.address, resource.prefixLength), address)) {
        return resource;
      }
    }
    return undefined;
  }

  #lookUp(address: IpAddress): RouteLookup {
    let best: Route | undefined;
    for (const resource of this.table.values()) {
      if (resource.kind === "address" && resource.address === address) {
        return { link: "lo", source: address, local: true };
      }
      if (resource.kind !== "route" || !prefixContainsAddress(resource.destination, address)) {
        continue;
      }
      if (
        best === undefined || prefixLength(resource.destination) > prefixLength(best.destination)
      ) {
        best = resource;
      }
    }
    const connected = this.#isConnected(address);
    if (connected !== undefined && this.#link(connected.link)?.up) {
      if (best === undefined || prefixLength(best.destination) <= connected.prefixLength) {
        return { link: connected.link, source: connected.address, local: false };
      }
    }
    if (best?.link === undefined || !this.#link(best.link)?.up) return { local: false };
    return {
      link: best.link,
      ...(best.gateway === undefined ? {} : { gateway: best.gateway }),
      local: false,
    };
  }

  // ---- Notifications

  #notify(event: KernelEvent): void {
    if (event.kind === "changed" && isNotReported(event.resource)) return;
    if (this.delivery === "now") {
      this.#deliverEvent(event);
      return;
    }
    this.#queue.push(event);
    if (this.delivery === "soon" && this.#queue.length === 1) setImmediate(() => this.deliver());
  }

  #deliverEvent(event: KernelEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
}

/** `set route 10.5.2.0/24 …`. */
export function stepText(step: Step): string {
  return `${step.op} ${resourceText(step.resource)}`;
}

function refusal(step: Step, code: string): KernelError {
  return new KernelError({ operation: stepText(step), errno: code });
}

/** The kernel's own entries on IPv6 devices; the port does not report them. */
function isNotReported(resource: Resource): boolean {
  return resource.kind === "address" && familyOf(resource.address) === 6 &&
      isLinkLocal(resource.address) ||
    resource.kind === "route" && prefixAddress(resource.destination).startsWith("fe80:");
}
