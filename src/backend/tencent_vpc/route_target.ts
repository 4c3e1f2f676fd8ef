/** This node's route in the cloud, as a target: looked at now and then, and put right. */

import type { IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { Log } from "../../log/log.ts";
import type { Lease, LeaseKey } from "../../subnet/lease.ts";
import { printableName } from "../../base/quoting.ts";
import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { BackendTarget } from "../../overlay/backend_target.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { ApiError, VpcApi } from "./api.ts";
import { HttpError } from "./http_exchange.ts";
import { type Placement, readPlacement } from "./metadata.ts";
import {
  type CloudRoute,
  orphans,
  type OwnRoute,
  routeChanges,
  type RouteTable,
  tableOf,
} from "./route_table.ts";
import type { AccessKey } from "./signature.ts";

export interface RouteTargetOptions {
  /** Of the overlay. */
  readonly network: Prefix;
  readonly credentials: AccessKey;
  readonly apiEndpoint: URL;
  readonly metadataEndpoint: URL;
  readonly clock: Clock;
  readonly log: Log;
}

interface Place {
  readonly placement: Placement;
  readonly api: VpcApi;
}

/** Nobody tells of changes in the cloud. 1000 nodes make 17 of the 100 calls that a second allows. */
const LOOK_MS = 60_000;
const RETRY = { firstMs: 1000, maxMs: 60_000 };
const PLACEMENT_ATTEMPTS = 3;

export class RouteTarget implements BackendTarget {
  readonly #options: RouteTargetOptions;
  readonly #stop = new AbortController();
  readonly #peers = new Map<LeaseKey, Prefix>();
  #knowsPeers = false;
  /** Known after `start`. */
  #place: Place | undefined;
  #input: NodeInput | undefined;
  #timer: Disposable | undefined;
  #looking: Promise<void> | undefined;
  /** What was wanted changed while it was looked at. */
  #isOutdated = false;
  #failures = 0;
  #problem: string | undefined;

  constructor(options: RouteTargetOptions) {
    this.#options = options;
  }

  /** Throws `BackendError` where waiting does not help: off the cloud, or without the rights. */
  async start(input: NodeInput, stop: AbortSignal): Promise<void> {
    const abort = () => this.#stop.abort(stop.reason);
    stop.addEventListener("abort", abort, { once: true });
    if (stop.aborted) abort();
    this.#input = input;
    const placement = await this.#readPlacement();
    const { credentials, apiEndpoint, log } = this.#options;
    log.info(
      `this instance is in ${placement.vpcId}, region ${placement.region}` +
        (placement.subnetId === undefined ? "" : `, subnet ${placement.subnetId}`),
    );
    const api = new VpcApi({
      endpoint: apiEndpoint,
      region: placement.region,
      credentials,
      nowMs: () => Date.now(),
    });
    this.#place = { placement, api };
    let refusal: ApiError | undefined;
    await this.#look((error) => {
      if (error instanceof ApiError && isFinal(error)) refusal = error;
    });
    this.#stop.signal.throwIfAborted();
    if (refusal !== undefined) throw new BackendError(this.#problem, { cause: refusal });
  }

  externalChanged(input: NodeInput): void {
    this.#input = input;
    this.#lookNow();
  }

  put(peer: Lease): void {
    const subnet = peer.subnets[4];
    if (subnet !== undefined) this.#peers.set(peer.key, subnet);
  }

  remove(peer: Lease): void {
    this.#peers.delete(peer.key);
  }

  /** Only this node's own routes are ever removed, so there is nothing to sweep. */
  allowSweep(): void {
    this.#knowsPeers = true;
  }

  async whenSettled(): Promise<void> {
    while (this.#looking !== undefined) await this.#looking;
  }

  problems(): readonly string[] {
    return this.#problem === undefined ? [] : [this.#problem];
  }

  /** The route stays: workloads go on while the daemon is restarted. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("the daemon ends"));
    this.#timer?.[Symbol.dispose]();
    await this.whenSettled();
  }

  async #readPlacement(): Promise<Placement> {
    const { metadataEndpoint, clock } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 1;; attempt++) {
      try {
        return await readPlacement(metadataEndpoint, signal);
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
        if (attempt === PLACEMENT_ATTEMPTS) {
          throw new BackendError(
            `cannot tell where this instance is: ${error.message}; tencent-vpc works on ` +
              "instances of Tencent Cloud only",
            { cause: error },
          );
        }
        await sleep(clock, backoffMs(attempt, RETRY, clock), signal);
        signal.throwIfAborted();
      }
    }
  }

  #lookNow(): void {
    if (this.#place === undefined || this.#stop.signal.aborted) return;
    if (this.#looking !== undefined) this.#isOutdated = true;
    else void this.#look();
  }

  /** Looks, and sees to it that it is looked again. Never throws. */
  #look(onError?: (error: unknown) => void): Promise<void> {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#isOutdated = false;
    const { clock } = this.#options;
    this.#looking = this.#putRight().then(
      (problem) => this.#report(problem),
      (error: unknown) => {
        if (this.#stop.signal.aborted) return;
        onError?.(error);
        this.#failed(error);
      },
    ).finally(() => {
      this.#looking = undefined;
      if (this.#stop.signal.aborted) return;
      if (this.#isOutdated) {
        void this.#look();
        return;
      }
      const delayMs = this.#failures > 0
        ? backoffMs(this.#failures, RETRY, clock)
        : LOOK_MS * (0.9 + clock.random() / 5);
      this.#timer = clock.setTimer(delayMs, () => void this.#look());
    });
    return this.#looking;
  }

  /** One look at the table, and the changes that it needs. Returns what is in the way. */
  async #putRight(): Promise<string | undefined> {
    const { placement, api } = this.#place as Place;
    const own = this.#ownRoute();
    const tables = await api.routeTables(placement.vpcId, this.#stop.signal);
    const table = tableOf(tables, placement.subnetId);
    if (table === undefined) return noTableText(placement);
    const { remove, create, conflict } = routeChanges(table, own);
    let leftOver: ApiError | string | undefined;
    for (const route of remove) {
      const failure = await this.#remove(route, table);
      leftOver ??= failure;
      // What else is left of earlier leases does not keep this node's route from being made.
      if (failure !== undefined && route.destination === own.destination) return told(failure);
    }
    if (conflict !== undefined) return conflictText(conflict, table);
    if (create) await this.#create(own, table);
    return told(leftOver);
  }

  /** What keeps it from being removed, if anything does. */
  async #remove(route: CloudRoute, table: RouteTable): Promise<ApiError | string | undefined> {
    if (route.id === undefined) return noIdText(route, table);
    try {
      await (this.#place as Place).api.deleteRoute(table.id, route.id, this.#stop.signal);
      this.#options.log.warn(
        `removed ${routeText(route)} from ${table.id}: it was of an earlier lease`,
      );
      return undefined;
    } catch (error) {
      if (error instanceof ApiError) return error;
      throw error;
    }
  }

  async #create(own: OwnRoute, table: RouteTable): Promise<void> {
    const { destination, instance } = own;
    const { api } = this.#place as Place;
    try {
      await api.createRoute(table.id, { destination, instance }, this.#stop.signal);
    } catch (error) {
      if (!(error instanceof ApiError) || !isLimit(error)) throw error;
      throw new ApiError("CreateRoutes", error.code, this.#limitText(table, own));
    }
    this.#options.log.info(`made the route ${destination} by ${instance} in ${table.id}`);
  }

  #ownRoute(): OwnRoute {
    const { own, external } = this.#input as NodeInput;
    return {
      destination: own.subnets[4] as Prefix,
      // The cloud knows an instance by the address of its interface, not by a translated one.
      instance: external.addresses[4] as IpAddress,
      network: this.#options.network,
    };
  }

  #limitText(table: RouteTable, own: OwnRoute): string {
    const inUse = new Set([own.destination, ...this.#peers.values()]);
    const unused = this.#knowsPeers ? orphans(table, own, inUse) : [];
    const hint = unused.length === 0
      ? ""
      : `, such as ${
        unused.slice(0, 5).map(({ destination }) => destination).join(", ")
      } that no node has any more`;
    return `${table.id} is full with ${table.routes.length} routes, of which each node needs one, ` +
      `and Tencent Cloud allows 50 unless you ask for more; remove some${hint}, or use a backend ` +
      "that needs none, such as vxlan";
  }

  #report(problem: string | undefined): void {
    const { log } = this.#options;
    if (problem !== undefined && problem !== this.#problem) log.warn(problem);
    if (problem === undefined && this.#problem !== undefined) {
      log.info("this node's route is in order");
    }
    this.#problem = problem;
    this.#failures = 0;
  }

  #failed(error: unknown): void {
    this.#failures++;
    const isExpected = error instanceof ApiError || error instanceof HttpError;
    const problem = isExpected ? explained(error) : (error as Error).stack ?? String(error);
    if (problem !== this.#problem) this.#options.log.warn(`${problem}; it is tried again`);
    this.#problem = problem;
  }
}

/** What the API refused is thrown, and so tried again soon. */
function told(problem: ApiError | string | undefined): string | undefined {
  if (problem instanceof ApiError) throw problem;
  return problem;
}

/** Each VPC has a main table, so that it can only be out of the key's sight. */
function noTableText({ vpcId, region }: Placement): string {
  return `the key sees no route table of ${vpcId} in ${region}: use a key of the account that has the ` +
    `VPC, and ${ALLOW_CALLS} on all its route tables`;
}

function routeText({ destination, gatewayType, gateway }: CloudRoute): string {
  return `the route ${destination} by ${printableName(gatewayType)} ${printableName(gateway)}`;
}

function conflictText(route: CloudRoute, { id }: RouteTable): string {
  return `${routeText(route)} is in ${id} and is not flannel's: remove it, or choose another ` +
    "Network; this node's subnet is not reachable";
}

/** It cannot be named in a call. */
function noIdText(route: CloudRoute, { id }: RouteTable): string {
  return `${
    routeText(route)
  } in ${id} is of an earlier lease, and has no usable RouteId: remove it by ` +
    "hand in the console of Tencent Cloud";
}

const isLimit = ({ code }: ApiError) =>
  code === "LimitExceeded" || code.startsWith("LimitExceeded.");

const ALLOW_CALLS = "allow DescribeRouteTables, CreateRoutes and DeleteRoutes for this key";

/** What to do, by the first words of the error's code; the first that fits. */
const ADVICE: readonly { readonly code: string; readonly text: string; readonly isFinal?: true }[] =
  [
    { code: "AuthFailure.SignatureExpire", text: "set this machine's clock right" },
    {
      code: "AuthFailure.UnauthorizedOperation",
      text: ALLOW_CALLS,
      isFinal: true,
    },
    { code: "AuthFailure", text: "check AccessKeyID and AccessKeySecret", isFinal: true },
    {
      code: "UnauthorizedOperation",
      text: ALLOW_CALLS,
      isFinal: true,
    },
    {
      code: "InvalidParameterValue.VpcCidrConflict",
      text: "choose a Network that does not overlap the VPC's own",
      isFinal: true,
    },
  ];

function adviceFor({ code }: ApiError): (typeof ADVICE)[number] | undefined {
  return ADVICE.find((advice) => code === advice.code || code.startsWith(`${advice.code}.`));
}

/** Trying again would not help. */
function isFinal(error: ApiError): boolean {
  return adviceFor(error)?.isFinal ?? false;
}

function explained(error: ApiError | HttpError): string {
  const advice = error instanceof ApiError ? adviceFor(error) : undefined;
  return advice === undefined ? error.message : `${error.message}; ${advice.text}`;
}
