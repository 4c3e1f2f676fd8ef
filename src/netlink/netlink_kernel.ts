/** The kernel's network tables of this thread's network namespace, over rtnetlink. */

import * as k from "../../ffi/linux.ts";
import { assertNever } from "../addr/assert_never.ts";
import { FAMILIES, type Family, familyOf, type IpAddress } from "../addr/ip.ts";
import type { Link, Resource, ResourceKind, Route, Sysctl } from "../state/resource.ts";
import type { Step } from "../state/step.ts";
import {
  completeLink,
  decodeAddress,
  type DecodedLink,
  type DecodedLookup,
  decodeLink,
  decodeLookup,
  decodeNeighbour,
  decodeRoute,
  deviceOf,
} from "./decoder.ts";
import { type DumpKind, Encoder, type Entry } from "./encoder.ts";
import { errnoName } from "./errno.ts";
import { readTable, request, sendBatch } from "./exchange.ts";
import { DUMP_TRIES, type Reading, readUndisturbed } from "./interrupted.ts";
import {
  type Kernel,
  KernelError,
  type KernelEvent,
  type LinkInfo,
  type RouteLookup,
  type StepResult,
  type WireguardSupport,
} from "./kernel.ts";
import { Monitor } from "./monitor.ts";
import { nexthopIdFor, Nexthops, NEXTHOPS_FROM_ROUTES } from "./nexthops.ts";
import { describeStep, operationOf } from "./operation.ts";
import type { MessageReader } from "./reader.ts";
import { NetlinkSocket, type Refusal } from "./socket.ts";
import type { SideTableType } from "./side_table.ts";
import { SideTables } from "./side_tables.ts";
import { readSysctlNow, writeSysctl } from "./sysctl.ts";
import { wireguardSupport } from "./wireguard/programs.ts";

export interface NetlinkKernelOptions {
  /** Kernel-side buffer for notifications; 32 MiB by default, less where the kernel limits it. */
  readonly watchBufferBytes?: number;
}

export class NetlinkKernel implements Kernel {
  readonly #socket = new NetlinkSocket();
  readonly #encoder = new Encoder();
  readonly #nexthops = new Nexthops(this.#socket, this.#encoder);
  readonly #watchBufferBytes: number;
  /** One for all listeners: each message is received and decoded once. */
  #monitor: Monitor | undefined;
  readonly #listeners = new Set<(event: KernelEvent) => void>();
  readonly #sideTables = new SideTables((event) => this.#tell(event));

  /**
   * Works in the network namespace that the calling thread is in. Throws `KernelError` if there is
   * no netlink, `LibraryError` if there is no libnl.
   */
  constructor(options: NetlinkKernelOptions = {}) {
    this.#watchBufferBytes = options.watchBufferBytes ?? WATCH_BUFFER_BYTES;
  }

  async dump(kinds: readonly ResourceKind[], links?: ReadonlySet<string>): Promise<Resource[]> {
    const resources = await readUndisturbed(() => this.#dumpOnce(kinds, links), pause);
    return [...resources, ...await this.#sideTables.dump(kinds, links)];
  }

  async apply(steps: readonly Step[]): Promise<StepResult[]> {
    const results: StepResult[] = [];
    for (const { type, steps: part } of partsOf(steps, (step) => this.#sideTables.typeFor(step))) {
      const partResults = type === undefined
        ? await this.#applyRoute(part)
        : await this.#applySide(type, part);
      for (const result of partResults) results.push(result);
    }
    return results;
  }

  /**
   * A side table makes a device as it comes; its MTU and its state are rtnetlink's. What is told of
   * the device half done is heard before it counts as made.
   */
  async #applySide(type: SideTableType, steps: readonly Step[]): Promise<StepResult[]> {
    const results = [...await this.#sideTables.apply(type, steps)];
    for (const [i, { op, resource }] of steps.entries()) {
      if (op !== "set" || resource.kind !== "link" || results[i] !== undefined) continue;
      const from = this.#link(resource.name)?.link;
      if (from === undefined) continue; // Its notification is on the way.
      results[i] = (await this.#applyRoute([{ op: "change", resource, from }]))[0];
      await pause(NOTIFIED_MS);
    }
    return results;
  }

  async #applyRoute(steps: readonly Step[]): Promise<StepResult[]> {
    const run = new BatchRun({
      socket: this.#socket,
      encoder: this.#encoder,
      nexthops: this.#nexthops,
      steps,
      nexthopLinks: nexthopLinks(steps),
    });
    for (let from = 0; from < steps.length; from += STEPS_AT_A_TIME) {
      // The changes cause notifications, which have to be read meanwhile.
      if (from > 0) await pause(0);
      run.steps(from, Math.min(from + STEPS_AT_A_TIME, steps.length));
    }
    run.finish();
    return run.results;
  }

  watch(listener: (event: KernelEvent) => void): Disposable {
    this.#monitor ??= new Monitor({
      receiveBufferBytes: this.#watchBufferBytes,
      linkNames: () => this.#linkNames(),
      ownPortId: this.#socket.portId,
      listener: (event) => this.#tell(event),
    });
    this.#sideTables.watch();
    const tell = (event: KernelEvent) => listener(event); // a function may be given twice
    this.#listeners.add(tell);
    return {
      [Symbol.dispose]: () => {
        if (this.#listeners.delete(tell) && this.#listeners.size === 0) this.#stopMonitor();
      },
    };
  }

  routeTo(address: IpAddress): Promise<RouteLookup> {
    return Promise.try(() => {
      let found: DecodedLookup | undefined;
      const refusal = request(this.#socket, this.#encoder, (encoder) => encoder.getRoute(address), (
        reply,
      ) => found = decodeLookup(reply));
      if (refusal !== undefined && !UNREACHABLE.has(errnoName(refusal.errno))) {
        throw refused(`look up the route to ${address}`, refusal);
      }
      const isUsable = found?.type === k.RTN_UNICAST || found?.type === k.RTN_LOCAL;
      if (refusal !== undefined || found === undefined || !isUsable) return { local: false };
      const { ifindex, gateway, source, type } = found;
      const link = this.#link(ifindex)?.link.name;
      return {
        ...(link === undefined ? {} : { link }),
        ...(gateway === undefined ? {} : { gateway }),
        ...(source === undefined ? {} : { source }),
        local: type === k.RTN_LOCAL,
      };
    });
  }

  link(name: string): Promise<LinkInfo | undefined> {
    return Promise.try(() => {
      const decoded = this.#link(name);
      if (decoded === undefined) return undefined;
      const names = new Map<number, string>();
      const underlay = decoded.underlayIndex === 0 ? undefined : this.#link(decoded.underlayIndex);
      if (underlay !== undefined) names.set(underlay.ifindex, underlay.link.name);
      return { ifindex: decoded.ifindex, link: completeLink(decoded, names) };
    });
  }

  wireguardSupport(): Promise<WireguardSupport | undefined> {
    return wireguardSupport();
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#stopMonitor();
    this.#sideTables[Symbol.dispose]();
    this.#encoder[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
  }

  #tell(event: KernelEvent): void {
    for (const tell of this.#listeners) tell(event);
  }

  #stopMonitor(): void {
    this.#sideTables.unwatch();
    this.#monitor?.[Symbol.dispose]();
    this.#monitor = undefined;
  }

  #link(which: string | number): DecodedLink | undefined {
    return findLink(this.#socket, this.#encoder, which);
  }

  #linkNames(): Map<number, string> {
    const names = new Map<number, string>();
    for (let tries = 1;; tries++) {
      const outcome = this.#readTable("link", 0, 0, (message) => {
        const decoded = decodeLink(message);
        if (decoded !== undefined) names.set(decoded.ifindex, decoded.link.name);
      });
      // An interrupted dump may lack a device that was there all the time: add what the next finds.
      if (outcome === "complete" || tries === DUMP_TRIES) return names;
    }
  }

  #dumpOnce(
    kinds: readonly ResourceKind[],
    links: ReadonlySet<string> | undefined,
  ): Reading<Resource[]> {
    const resources: Resource[] = [];
    const decodedLinks: DecodedLink[] = [];
    const outcome = this.#readTable("link", 0, 0, (message) => {
      const decoded = decodeLink(message);
      if (decoded !== undefined) decodedLinks.push(decoded);
    });
    if (outcome === "interrupted") return { interrupted: "link" };
    const names = new Map(decodedLinks.map(({ ifindex, link }) => [ifindex, link.name]));
    if (kinds.includes("link")) {
      for (const decoded of decodedLinks) resources.push(completeLink(decoded, names));
    }
    for (const kind of ["address", "neighbour", "fdb", "route"] as const) {
      if (!kinds.includes(kind)) continue;
      const filter = kind === "route" || links === undefined ? undefined : links;
      for (const request of dumpRequests(kind, names, filter)) {
        let unknownDevice = false;
        const outcome = this.#readTable(kind, request.family, request.ifindex, (message) => {
          const resource = decodeEntry(message, names);
          const device = resource === undefined ? deviceOf(message) : 0;
          if (device !== 0 && !names.has(device)) unknownDevice = true;
          if (resource === undefined) return;
          if (filter === undefined || filter.has(deviceName(resource))) resources.push(resource);
        });
        if (outcome === "interrupted" || unknownDevice) return { interrupted: kind };
      }
    }
    return { result: resources };
  }

  #readTable(
    kind: DumpKind,
    family: Family | 0,
    ifindex: number,
    read: (message: MessageReader) => void,
  ): "complete" | "interrupted" {
    const encode = (encoder: Encoder) => encoder.dump(kind, family, ifindex);
    return readTable(this.#socket, this.#encoder, encode, read);
  }
}

/** The steps of one `apply`, sent in batches; what the kernel answers becomes results. */
class BatchRun {
  readonly results: StepResult[];
  readonly #socket: NetlinkSocket;
  readonly #encoder: Encoder;
  readonly #nexthops: Nexthops;
  readonly #steps: readonly Step[];
  /** The steps whose messages are in the encoder. */
  #pending: Pending[] = [];
  /** Asked for anew by each run, so that a device that was recreated meanwhile is found. */
  readonly #ifindexes = new Map<string, number | undefined>();
  readonly #nexthopLinks: ReadonlySet<string>;
  /** Nexthop objects for the routes of the steps that are under way, by device. */
  #usableNexthops = new Map<string, ReadonlySet<number>>();
  /** Our nexthop objects on a device when they were first asked for. */
  readonly #knownNexthops = new Map<number, ReadonlySet<number>>();
  /** A route that may have used a nexthop object has gone or been replaced. */
  #mayOrphan = false;

  constructor({ socket, encoder, nexthops, steps, nexthopLinks }: BatchRunOptions) {
    this.#socket = socket;
    this.#encoder = encoder;
    this.#nexthops = nexthops;
    this.#steps = steps;
    this.#nexthopLinks = nexthopLinks;
    this.results = new Array<StepResult>(steps.length).fill(undefined);
  }

  /** Performs the steps from one position up to another. */
  steps(from: number, to: number): void {
    this.#encoder.clear();
    this.#usableNexthops.clear();
    for (let position = from; position < to; position++) {
      const step = this.#steps[position] as Step;
      const { resource } = step;
      if (resource.kind === "link" || resource.kind === "sysctl") {
        this.#flush();
        this.results[position] = resource.kind === "link"
          ? this.#linkStep(step, resource)
          : sysctlStep(step, resource);
      } else {
        this.#addEntry({ position, to }, step, resource as Entry);
      }
    }
    this.#flush();
  }

  /** After the last step. */
  finish(): void {
    if (this.#mayOrphan) this.#nexthops.dropUnused();
  }

  #addEntry({ position, to }: Range, step: Step, entry: Entry): void {
    const link = deviceName(entry);
    let ifindex: number | undefined = 0;
    if (link !== "") {
      if (!this.#ifindexes.has(link)) {
        // The encoder is also what asks for the index.
        this.#flush();
        this.#ifindexes.set(link, findLink(this.#socket, this.#encoder, link)?.ifindex);
        this.#encoder.clear();
      }
      ifindex = this.#ifindexes.get(link);
    }
    if (ifindex === undefined) {
      this.results[position] = this.#noDevice(step, link);
      return;
    }
    if (entry.kind === "route" && this.#addByNexthop({ position, to }, step, entry, ifindex)) {
      return;
    }
    try {
      this.#encoder.entry(operationOf(step), entry, ifindex);
    } catch (cause) {
      // libnl cannot say everything, such as an address with a prefix length of 0.
      const reason = cause instanceof Error ? cause.message : String(cause);
      this.results[position] = new KernelError(describeStep(step), "EINVAL", reason, { cause });
      return;
    }
    this.#push({ position, byNexthop: false });
  }

  /**
   * Adds the message for a route whose next hop is a nexthop object; whether this is all there is to
   * do. For a deletion it is not: the kernel finds a route with an object only by the object, one
   * without only by its gateway, and which of the two it is, nobody knows after a restart.
   */
  #addByNexthop(range: Range, step: Step, route: Route, ifindex: number): boolean {
    const operation = operationOf(step);
    const id = nexthopIdFor(route);
    const isDelete = operation === "delete";
    const nexthops = id === 0
      ? NO_NEXTHOPS
      : isDelete
      ? this.#known(ifindex)
      : this.#usable(range, deviceName(route), ifindex);
    const byNexthop = nexthops.has(id);
    if (isDelete ? byNexthop : !byNexthop && operation === "set" && isIpv4(route)) {
      this.#mayOrphan = true;
    }
    if (!byNexthop) return false;
    this.#encoder.routeByNexthop(operation, route, id);
    this.#push({ position: range.position, byNexthop });
    return !isDelete;
  }

  #known(ifindex: number): ReadonlySet<number> {
    let known = this.#knownNexthops.get(ifindex);
    if (known === undefined) {
      this.#flush();
      known = this.#nexthops.existing(ifindex);
      this.#knownNexthops.set(ifindex, known);
    }
    return known;
  }

  /** Makes the nexthop objects for all routes of a device that are to come in this range. */
  #usable({ position, to }: Range, link: string, ifindex: number): ReadonlySet<number> {
    if (!this.#nexthopLinks.has(link) || !this.#nexthops.isSupported) return NO_NEXTHOPS;
    let usable = this.#usableNexthops.get(link);
    if (usable === undefined) {
      this.#flush();
      const ids: number[] = [];
      for (let at = position; at < to; at++) {
        const { op, resource } = this.#steps[at] as Step;
        if (op !== "set" || resource.kind !== "route" || resource.link !== link) continue;
        const id = nexthopIdFor(resource);
        if (id !== 0) ids.push(id);
      }
      usable = this.#nexthops.make(ids, ifindex);
      this.#usableNexthops.set(link, usable);
    }
    return usable;
  }

  #push(pending: Pending): void {
    this.#pending.push(pending);
    if (this.#pending.length === MESSAGES_AT_A_TIME || !this.#encoder.hasRoom) this.#flush();
  }

  /** Sends what is gathered. What failed for want of its device is tried once more, by name. */
  #flush(): void {
    const pending = this.#pending;
    this.#pending = [];
    const refusals = this.#send();
    for (const [index, refusal] of refusals) {
      const { position, byNexthop } = pending[index] as Pending;
      const step = this.#steps[position] as Step;
      const code = errnoName(refusal.errno);
      // The object may have gone meanwhile: then without it.
      const isWorthRetrying = byNexthop && step.op === "set" && code !== "EEXIST";
      this.results[position] = code === "ENODEV" || isWorthRetrying
        ? this.#retry(step)
        : code === "EINVAL" && isOnlinkReplacement(step)
        ? this.#replaceByTwo(step)
        : resultOf(step, refusal);
    }
  }

  /**
   * Replaces an IPv6 route by one with an onlink gateway on another device. While the old route
   * covers the gateway, the kernel takes the device for a mistake (EINVAL, "invalid gateway or
   * device mismatch"): a route to the device alone goes first, so that there is always one.
   */
  #replaceByTwo(step: Step & { readonly resource: Route }): StepResult {
    const { gateway: _, ...rest } = step.resource;
    const ifindex = this.#ifindexes.get(deviceName(step.resource)) ?? 0;
    this.#encoder.clear();
    this.#encoder.entry("set", { ...rest, onlink: false }, ifindex);
    this.#encoder.entry("set", step.resource, ifindex);
    const refusals = this.#send();
    return resultOf(step, refusals.get(0) ?? refusals.get(1));
  }

  #send(): Map<number, Refusal> {
    return sendBatch(this.#socket, this.#encoder);
  }

  #retry(step: Step): StepResult {
    const entry = step.resource as Entry;
    const link = deviceName(entry);
    const ifindex = link === "" ? 0 : findLink(this.#socket, this.#encoder, link)?.ifindex;
    this.#ifindexes.set(link, ifindex);
    if (ifindex === undefined) return this.#noDevice(step, link);
    this.#encoder.clear();
    this.#encoder.entry(operationOf(step), entry, ifindex);
    return resultOf(step, this.#send().get(0));
  }

  #linkStep(step: Step, link: Link): StepResult {
    this.#ifindexes.delete(link.name);
    this.#usableNexthops.delete(link.name);
    if (step.op === "set") return this.#createLink(step, link);
    const ifindex = findLink(this.#socket, this.#encoder, link.name)?.ifindex;
    if (ifindex === undefined) return this.#noDevice(step, link.name);
    this.#encoder.clear();
    if (step.op === "delete") this.#encoder.deleteLink(ifindex);
    else this.#encoder.changeLink(ifindex, step.from, step.resource);
    return resultOf(step, this.#send().get(0));
  }

  #createLink(step: Step, link: Link): StepResult {
    switch (link.type) {
      case "vxlan": {
        const underlay = findLink(this.#socket, this.#encoder, link.underlay)?.ifindex;
        if (underlay === undefined) return this.#noDevice(step, link.underlay);
        this.#encoder.clear();
        this.#encoder.createVxlan(link, underlay);
        return resultOf(step, this.#send().get(0));
      }
      case "wireguard":
        this.#encoder.clear();
        this.#encoder.createWireguard(link);
        return resultOf(step, this.#send().get(0));
      case "ipip":
        this.#encoder.clear();
        this.#encoder.createIpip(link);
        return resultOf(step, withTunnelHint(this.#send().get(0)));
      case "tun":
      case "other": {
        const kind = link.type === "other" ? link.linkKind || "hardware" : link.type;
        return new KernelError(
          describeStep(step),
          "EOPNOTSUPP",
          `${kind} devices are not made here`,
        );
      }
      default:
        return assertNever(link);
    }
  }

  /** With its device, an entry is gone too. */
  #noDevice(step: Step, link: string): StepResult {
    if (step.op === "delete") return undefined;
    return new KernelError(describeStep(step), "ENODEV", `there is no device ${link}`);
  }
}

interface BatchRunOptions {
  readonly socket: NetlinkSocket;
  readonly encoder: Encoder;
  readonly nexthops: Nexthops;
  readonly steps: readonly Step[];
  readonly nexthopLinks: ReadonlySet<string>;
}

/** The position of a step, and that after the last step of the same batch. */
interface Range {
  readonly position: number;
  readonly to: number;
}

/** What a message in the encoder is for. */
interface Pending {
  readonly position: number;
  readonly byNexthop: boolean;
}

const NO_NEXTHOPS: ReadonlySet<number> = new Set();
/** Enough for what is in the notification socket to be read. */
const NOTIFIED_MS = 10;
const WATCH_BUFFER_BYTES = 32 * 1024 * 1024;
const MESSAGES_AT_A_TIME = 200;
/** Steps between two turns of the event loop: about 10 ms. */
const STEPS_AT_A_TIME = 2000;
/** Filtering by device costs one request for each; beyond this many the whole table is cheaper. */
const FILTERED_LINKS = 8;

/** What RTM_GETROUTE is refused with where a packet could not be sent. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  "ENETUNREACH",
  "EHOSTUNREACH",
  "EACCES",
  "EINVAL",
]);

/** What deleting an absent entry is refused with. */
const ABSENT: Readonly<Partial<Record<ResourceKind, ReadonlySet<string>>>> = {
  link: new Set(["ENODEV"]),
  address: new Set(["EADDRNOTAVAIL", "ENODEV"]),
  neighbour: new Set(["ENOENT", "ENODEV"]),
  fdb: new Set(["ENOENT", "ENODEV"]),
  route: new Set(["ESRCH", "ENODEV"]),
};

/** The steps in order, cut where the table changes. */
function partsOf(
  steps: readonly Step[],
  typeFor: (step: Step) => SideTableType | undefined,
): { readonly type: SideTableType | undefined; readonly steps: readonly Step[] }[] {
  const parts: { type: SideTableType | undefined; steps: Step[] }[] = [];
  for (const step of steps) {
    const type = typeFor(step);
    const last = parts.at(-1);
    if (last !== undefined && last.type === type) last.steps.push(step);
    else parts.push({ type, steps: [step] });
  }
  return parts;
}

function isOnlinkReplacement(step: Step): step is Step & { readonly resource: Route } {
  const { resource } = step;
  return step.op === "set" && step.exclusive !== true && resource.kind === "route" &&
    resource.onlink && resource.gateway !== undefined && familyOf(resource.destination) === 6;
}

function resultOf(step: Step, refusal: Refusal | undefined): StepResult {
  if (refusal === undefined) return undefined;
  const isAbsent = step.op === "delete" &&
    ABSENT[step.resource.kind]?.has(errnoName(refusal.errno)) === true;
  return isAbsent ? undefined : refused(describeStep(step), refusal);
}

/**
 * Tunnels of one kind must differ in their ends, whatever their names are (ip_tunnel_newlink); a type
 * is unknown whose module could not be loaded.
 */
function withTunnelHint(refusal: Refusal | undefined): Refusal | undefined {
  if (refusal === undefined) return undefined;
  switch (errnoName(refusal.errno)) {
    case "EEXIST": {
      const extack =
        "there is a device of this name, or another tunnel from this address to any other";
      return { extack, ...refusal };
    }
    case "EOPNOTSUPP":
      return {
        ...refusal,
        extack: 'this kernel has no ipip tunnels; load them with "modprobe ipip"',
      };
    default:
      return refusal;
  }
}

function refused(operation: string, refusal: Refusal): KernelError {
  return new KernelError(operation, errnoName(refusal.errno), refusal.extack);
}

function sysctlStep(step: Step, sysctl: Sysctl): StepResult {
  // A parameter cannot be deleted; it goes with its device.
  return step.op === "delete" ? undefined : writeSysctl(sysctl);
}

function isIpv4(route: Route): boolean {
  return familyOf(route.destination) === 4;
}

/** Devices that get so many routes that these are made with nexthop objects. */
function nexthopLinks(steps: readonly Step[]): ReadonlySet<string> {
  const counts = new Map<string, number>();
  for (const { op, resource } of steps) {
    if (op !== "set" || resource.kind !== "route" || nexthopIdFor(resource) === 0) continue;
    const link = deviceName(resource);
    counts.set(link, (counts.get(link) ?? 0) + 1);
  }
  const isMany = (link: string) => counts.get(link) as number >= NEXTHOPS_FROM_ROUTES;
  const links = new Set([...counts.keys()].filter(isMany));
  // With this at 0, the kernel does not show the gateways of such routes.
  if (links.size > 0 && readSysctlNow("net/ipv4/nexthop_compat_mode") === "0") return new Set();
  return links;
}

/** Name of the device that an entry is on; empty for a blackhole route. */
function deviceName(entry: Entry | Resource): string {
  return "link" in entry && entry.link !== undefined ? entry.link : "";
}

function decodeEntry(message: MessageReader, names: Map<number, string>): Resource | undefined {
  switch (message.type) {
    case k.RTM_NEWADDR:
      return decodeAddress(message, names);
    case k.RTM_NEWROUTE:
      return decodeRoute(message, names);
    case k.RTM_NEWNEIGH: {
      const neighbour = decodeNeighbour(message, names);
      return neighbour?.permanent ? neighbour.resource : undefined;
    }
  }
  return undefined;
}

/** The requests that together read one table, limited to some devices where there are few. */
function dumpRequests(
  kind: Exclude<DumpKind, "link">,
  names: ReadonlyMap<number, string>,
  links: ReadonlySet<string> | undefined,
): { family: Family | 0; ifindex: number }[] {
  if (kind === "route") return FAMILIES.map((family) => ({ family, ifindex: 0 }));
  if (links === undefined || links.size > FILTERED_LINKS) return [{ family: 0, ifindex: 0 }];
  return [...names].filter(([, name]) => links.has(name))
    .map(([ifindex]) => ({ family: 0, ifindex }));
}

function findLink(
  socket: NetlinkSocket,
  encoder: Encoder,
  which: string | number,
): DecodedLink | undefined {
  // No device has such a name (IFNAMSIZ, linux/if.h), and the kernel would call it EINVAL or ERANGE.
  if (typeof which === "string" && !/^[^/\s]{1,15}$/.test(which)) return undefined;
  if (which === 0) return undefined;
  let found: DecodedLink | undefined;
  const refusal = request(socket, encoder, (encoder) => encoder.getLink(which), (reply) => {
    found = decodeLink(reply);
  });
  if (refusal === undefined || errnoName(refusal.errno) === "ENODEV") return found;
  throw refused(`look up device ${which}`, refusal);
}

function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (delayMs === 0) setImmediate(resolve);
    else setTimeout(resolve, delayMs);
  });
}
