/** The steps of one `apply` that are rtnetlink's, sent in batches; the answers become results. */

import { errnoName } from "../../../ffi/errno.ts";
import { familyOf } from "../../addr/ip.ts";
import { linkOf } from "../../state/resource_key.ts";
import type { Resource, Route } from "../../state/resource.ts";
import type { Step } from "../../state/step.ts";
import type { Channel } from "../wire/channel.ts";
import type { RtnetlinkEntry } from "./entry_codec.ts";
import { codecOfKind } from "./entry_codecs.ts";
import type { RtnetlinkEncoder } from "./rtnetlink_encoder.ts";
import type { StepResult } from "../table/step_result.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { performLinkStep } from "./link_steps.ts";
import { Ifindexes } from "./links.ts";
import { routeByNexthop } from "../nexthop/nexthop_messages.ts";
import { NexthopRoutes } from "../nexthop/nexthop_routes.ts";
import type { Nexthops } from "../nexthop/nexthops.ts";
import { describeStep, operationOf } from "../table/entry_operation.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";
import { resultOf, withoutDevice } from "../table/step_result.ts";

export interface BatchRunOptions {
  readonly changes: Channel<RtnetlinkEncoder>;
  /** Another channel than `changes`: things are asked while changes are gathered. */
  readonly questions: Channel<RtnetlinkEncoder>;
  readonly nexthops: Nexthops;
  readonly steps: readonly Step[];
}

export class BatchRun {
  /** One per step, in order. */
  readonly results: StepResult[];
  readonly #changes: Channel<RtnetlinkEncoder>;
  readonly #steps: readonly Step[];
  /** What the messages that are gathered in `#changes` are for. */
  #pending: Pending[] = [];
  /** Asked for anew by each run, so that a device that was recreated meanwhile is found. */
  readonly #ifindexes: Ifindexes;
  readonly #nexthops: Nexthops;
  readonly #nexthopRoutes: NexthopRoutes;

  constructor({ changes, questions, nexthops, steps }: BatchRunOptions) {
    this.#changes = changes;
    this.#steps = steps;
    this.#ifindexes = new Ifindexes(questions);
    this.#nexthops = nexthops;
    this.#nexthopRoutes = new NexthopRoutes(nexthops, steps);
    this.results = new Array<StepResult>(steps.length).fill(undefined);
  }

  /** Performs the steps from one position up to another. */
  perform(from: number, to: number): void {
    this.#changes.encoder.clear();
    this.#nexthopRoutes.begin(this.#steps.slice(from, to));
    for (let position = from; position < to; position++) {
      const step = this.#steps[position] as Step;
      const { resource } = step;
      if (resource.kind === "link") {
        this.#flush();
        this.#ifindexes.forget(resource.name);
        this.#nexthopRoutes.forget(resource.name);
        this.results[position] = performLinkStep(this.#changes, step, resource);
      } else {
        this.#gather(position, step, resource as RtnetlinkEntry);
      }
    }
    this.#flush();
  }

  /** After the last step. */
  finish(): void {
    this.#nexthops.dropUnused();
  }

  #gather(position: number, step: Step, entry: RtnetlinkEntry): void {
    const ifindex = this.#ifindexOf(entry);
    if (entry.kind === "route" && ifindex !== undefined) {
      const nexthopId = this.#nexthopRoutes.idFor(step, entry, ifindex);
      if (nexthopId !== 0) {
        routeByNexthop(this.#changes.encoder, operationOf(step), entry, nexthopId);
        this.#push({ position, nexthopId, isRetry: false });
        // The kernel finds a route with an object only by the object, one without only by its
        // gateway; which of the two it is, nobody knows after a restart: a deletion tries both.
        if (step.op !== "delete") return;
      }
    }
    this.#gatherPlain(position, false);
  }

  /** Gathers the message for an entry, a route by its own next hop. */
  #gatherPlain(position: number, isRetry: boolean): void {
    const step = this.#steps[position] as Step;
    const entry = step.resource as RtnetlinkEntry;
    const ifindex = this.#ifindexOf(entry);
    if (ifindex === undefined) {
      this.results[position] = withoutDevice(step, deviceName(entry));
      return;
    }
    try {
      this.#changes.encoder.entry(operationOf(step), entry, ifindex);
    } catch (cause) {
      // libnl cannot say everything, such as an address with a prefix length of 0.
      const reason = cause instanceof Error ? cause.message : String(cause);
      this.results[position] = new KernelError({
        operation: describeStep(step),
        errno: "EINVAL",
        extack: reason,
        cause,
      });
      return;
    }
    this.#push({ position, nexthopId: 0, isRetry });
  }

  #push(pending: Pending): void {
    this.#pending.push(pending);
    const isFull = this.#pending.length === MESSAGES_AT_A_TIME || !this.#changes.encoder.hasRoom;
    if (isFull) this.#flush();
  }

  /** Sends what is gathered, and once more, by themselves, those that may have better luck. */
  #flush(): void {
    const pending = this.#pending;
    this.#pending = [];
    const retries: number[] = [];
    for (const [index, refusal] of this.#changes.send()) {
      const refused = pending[index] as Pending;
      if (this.#isWorthRetrying(refused, refusal)) retries.push(refused.position);
      else this.results[refused.position] = this.#resultOf(refused, refusal);
    }
    if (retries.length === 0) return;
    for (const position of retries) this.#ifindexes.forget(this.#deviceOf(position));
    for (const position of retries) this.#gatherPlain(position, true);
    this.#flush();
  }

  /** A device may have been made anew, and a nexthop object may have gone. */
  #isWorthRetrying({ position, nexthopId, isRetry }: Pending, { errno }: NetlinkRefusal): boolean {
    if (isRetry) return false;
    const code = errnoName(errno);
    const { op } = this.#steps[position] as Step;
    return code === "ENODEV" || nexthopId !== 0 && op === "set" && code !== "EEXIST";
  }

  #resultOf({ position, nexthopId }: Pending, refusal: NetlinkRefusal): StepResult {
    const step = this.#steps[position] as Step;
    if (errnoName(refusal.errno) === "EINVAL") {
      if (nexthopId !== 0 && step.op === "delete") {
        // There is no such object, so that the route, if there is one, is without.
        this.#nexthops.forget(nexthopId);
        return undefined;
      }
      if (isOnlinkReplacement(step)) return this.#replaceByTwo(step);
    }
    const { kind } = step.resource as RtnetlinkEntry;
    return resultOf(step, refusal, codecOfKind(kind).absentErrnos);
  }

  /**
   * Replaces an IPv6 route by one with an onlink gateway on another device. While the old route
   * covers the gateway, the kernel takes the device for a mistake (EINVAL, "invalid gateway or
   * device mismatch"): a route to the device alone goes first, so that there is always one.
   */
  #replaceByTwo(step: Step & { readonly resource: Route }): StepResult {
    const { gateway: _, ...rest } = step.resource;
    const ifindex = this.#ifindexOf(step.resource) ?? 0;
    const { encoder } = this.#changes;
    encoder.entry("set", { ...rest, onlink: false }, ifindex);
    encoder.entry("set", step.resource, ifindex);
    const refusals = this.#changes.send();
    return resultOf(step, refusals.get(0) ?? refusals.get(1));
  }

  #ifindexOf(entry: RtnetlinkEntry): number | undefined {
    return this.#ifindexes.of(deviceName(entry));
  }

  #deviceOf(position: number): string {
    return deviceName((this.#steps[position] as Step).resource);
  }
}

/** What a gathered message is for. */
interface Pending {
  readonly position: number;
  /** The nexthop object that it names; 0 for none. */
  readonly nexthopId: number;
  readonly isRetry: boolean;
}

const MESSAGES_AT_A_TIME = 200;

/** Name of the device that an entry is on; empty for a blackhole route. */
function deviceName(entry: Resource): string {
  return linkOf(entry) ?? "";
}

function isOnlinkReplacement(step: Step): step is Step & { readonly resource: Route } {
  const { resource } = step;
  return step.op === "set" && step.exclusive !== true && resource.kind === "route" &&
    resource.onlink && resource.gateway !== undefined && familyOf(resource.destination) === 6;
}
