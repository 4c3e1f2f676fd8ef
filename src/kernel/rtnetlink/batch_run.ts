/** Performs the rtnetlink steps of one `apply` in batches. */

import { errnoName } from "../../../ffi/errno.ts";
import { familyOf } from "../../addr/ip.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { Resource, Route } from "../../state/resource.ts";
import { linkOf } from "../../state/resource_key.ts";
import type { Step } from "../../state/step.ts";
import { routeThroughNexthop } from "../nexthop/nexthop_messages.ts";
import { NexthopRoutes } from "../nexthop/nexthop_routes.ts";
import type { Nexthops } from "../nexthop/nexthops.ts";
import { describeStep, operationOf } from "../table/entry_operation.ts";
import type { StepResult } from "../table/step_result.ts";
import { resultOf, withoutDevice } from "../table/step_result.ts";
import type { Channel } from "../wire/channel.ts";
import { KernelError } from "../wire/kernel_error.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";
import type { RtnetlinkEntry } from "./entry_codec.ts";
import { codecOfKind } from "./entry_codecs.ts";
import { performLinkStep } from "./link_steps.ts";
import type { Ifindexes } from "./links.ts";
import type { RtnetlinkEncoder } from "./rtnetlink_encoder.ts";

export interface BatchRunOptions {
  readonly changes: Channel<RtnetlinkEncoder>;
  /** Not over the same channel as `changes`: devices are looked up while changes are gathered. */
  readonly ifindexes: Ifindexes;
  readonly nexthops: Nexthops;
  readonly steps: readonly Step[];
}

export class BatchRun {
  /** One for each step, in order. */
  readonly results: StepResult[];
  readonly #changes: Channel<RtnetlinkEncoder>;
  readonly #steps: readonly Step[];
  /** Describes the messages that are gathered in `#changes`, in order. */
  #pending: Pending[] = [];
  readonly #ifindexes: Ifindexes;
  readonly #nexthops: Nexthops;
  readonly #nexthopRoutes: NexthopRoutes;

  constructor({ changes, ifindexes, nexthops, steps }: BatchRunOptions) {
    this.#changes = changes;
    this.#steps = steps;
    this.#ifindexes = ifindexes;
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
        routeThroughNexthop(this.#changes.encoder, operationOf(step), entry, nexthopId);
        this.#push({ position, nexthopId, attempt: "first" });
        // The kernel finds a route through a nexthop object only by the object, and any other route
        // only by its gateway. After a restart it is unknown which this is: a deletion tries both.
        if (step.op !== "delete") return;
      }
    }
    this.#gatherPlain(position, "first");
  }

  /** Gathers the message for an entry; for a route, without a nexthop object. */
  #gatherPlain(position: number, attempt: Attempt): void {
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
      // libnl cannot express everything, such as an address with a prefix length of 0.
      this.results[position] = new KernelError({
        operation: describeStep(step),
        errno: "EINVAL",
        extack: errorMessage(cause),
        cause,
      });
      return;
    }
    this.#push({ position, nexthopId: 0, attempt });
  }

  #push(pending: Pending): void {
    this.#pending.push(pending);
    const isFull = this.#pending.length === MESSAGES_AT_A_TIME || !this.#changes.encoder.hasRoom;
    if (isFull) this.#flush();
  }

  /** Sends the gathered messages, then once more those of which a retry may succeed. */
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
    for (const position of retries) this.#gatherPlain(position, "retry");
    this.#flush();
  }

  /** The device may have been recreated, or the nexthop object deleted. */
  #isWorthRetrying({ position, nexthopId, attempt }: Pending, { errno }: NetlinkRefusal): boolean {
    if (attempt === "retry") return false;
    const code = errnoName(errno);
    const { op } = this.#steps[position] as Step;
    return code === "ENODEV" || nexthopId !== 0 && op === "set" && code !== "EEXIST";
  }

  #resultOf({ position, nexthopId }: Pending, refusal: NetlinkRefusal): StepResult {
    const step = this.#steps[position] as Step;
    if (errnoName(refusal.errno) === "EINVAL") {
      if (nexthopId !== 0 && step.op === "delete") {
        // There is no such object: the route, if it exists, does not use one.
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
   * covers the gateway, the kernel refuses that (EINVAL, "invalid gateway or device mismatch"). A
   * route to the device alone replaces the old one first, so that there is a route at all times.
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

type Attempt = "first" | "retry";

/** A gathered message. */
interface Pending {
  readonly position: number;
  /** The nexthop object that it names; 0 for none. */
  readonly nexthopId: number;
  readonly attempt: Attempt;
}

const MESSAGES_AT_A_TIME = 200;

/** The device that an entry is on; empty for a blackhole route. */
function deviceName(entry: Resource): string {
  return linkOf(entry) ?? "";
}

function isOnlinkReplacement(step: Step): step is Step & { readonly resource: Route } {
  const { resource } = step;
  return step.op === "set" && step.exclusive !== true && resource.kind === "route" &&
    resource.onlink && resource.gateway !== undefined && familyOf(resource.destination) === 6;
}
