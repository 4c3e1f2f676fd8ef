/** Maintains this node's route in the cloud: checks it periodically, and restores it. */

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
  orphanedRoutes,
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

/**
 * The cloud does not report changes. 1000 nodes make 17 calls per second, of the 100 that are
 * allowed.
 */
const CHECK_MS = 60_000;
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
  #checking: Promise<void> | undefined;
  /** The interface has changed during the check. */
  #isOutdated = false;
  #failures = 0;
  #problem: string | undefined;

  constructor(options: RouteTargetOptions) {
    this.#options = options;
  }

  /**
   * Throws `BackendError` where retrying cannot help: outside of the cloud, or without permission.
   */
  async start(input: NodeInput, stop: AbortSignal): Promise<void> {
    const abort = () => this.#stop.abort(stop.reason);
    stop.addEventListener("abort", abort, { once: true });
    if (stop.aborted) abort();
    this.#input = input;
    const placement = await this.#readPlacement();
    const { credentials, apiEndpoint, clock, log } = this.#options;
    log.info(
      `this instance is in ${placement.vpcId}, region ${placement.region}` +
        (placement.subnetId === undefined ? "" : `, subnet ${placement.subnetId}`),
    );
    const api = new VpcApi({
      endpoint: apiEndpoint,
      region: placement.region,
      credentials,
      clock,
    });
    this.#place = { placement, api };
    let refusal: ApiError | undefined;
    await this.#check((error) => {
      if (error instanceof ApiError && isFinal(error)) refusal = error;
    });
    this.#stop.signal.throwIfAborted();
    if (refusal !== undefined) throw new BackendError(this.#problem, { cause: refusal });
  }

  externalChanged(input: NodeInput): void {
    this.#input = input;
    this.#checkNow();
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
    while (this.#checking !== undefined) await this.#checking;
  }

  problems(): readonly string[] {
    return this.#problem === undefined ? [] : [this.#problem];
  }

  /** The route stays, so that workloads keep their connectivity while the daemon is restarted. */
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
        return await readPlacement(metadataEndpoint, { clock, signal });
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
        if (attempt === PLACEMENT_ATTEMPTS) {
          throw new BackendError(
            `cannot read the VPC of this instance: ${error.message}; tencent-vpc only works on ` +
              "instances of Tencent Cloud",
            { cause: error },
          );
        }
        await sleep(clock, backoffMs(attempt, RETRY, clock), signal);
        signal.throwIfAborted();
      }
    }
  }

  #checkNow(): void {
    if (this.#place === undefined || this.#stop.signal.aborted) return;
    if (this.#checking !== undefined) this.#isOutdated = true;
    else void this.#check();
  }

  /** Checks and restores the route, and schedules the next check. Never throws. */
  #check(onError?: (error: unknown) => void): Promise<void> {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#isOutdated = false;
    const { clock } = this.#options;
    this.#checking = this.#restore().then(
      (problem) => this.#report(problem),
      (error: unknown) => {
        if (this.#stop.signal.aborted) return;
        onError?.(error);
        this.#failed(error);
      },
    ).finally(() => {
      this.#checking = undefined;
      if (this.#stop.signal.aborted) return;
      if (this.#isOutdated) {
        void this.#check();
        return;
      }
      const delayMs = this.#failures > 0
        ? backoffMs(this.#failures, RETRY, clock)
        : CHECK_MS * (0.9 + clock.random() / 5);
      this.#timer = clock.setTimer(delayMs, () => void this.#check());
    });
    return this.#checking;
  }

  /** Reads the table and makes the changes that it needs. Returns why that is not possible. */
  async #restore(): Promise<string | undefined> {
    const { placement, api } = this.#place as Place;
    const own = this.#ownRoute();
    const tables = await api.routeTables(placement.vpcId, this.#stop.signal);
    const table = tableOf(tables, placement.subnetId);
    if (table === undefined) return noTableText(placement);
    const { remove, create, conflict } = routeChanges(table, own);
    let firstFailure: ApiError | string | undefined;
    for (const route of remove) {
      const failure = await this.#remove(route, table);
      firstFailure ??= failure;
      // Other routes of earlier leases do not prevent creating this node's route.
      if (failure !== undefined && route.destination === own.destination) {
        return problemText(failure);
      }
    }
    if (conflict !== undefined) return conflictText(conflict, table);
    if (create) await this.#create(own, table);
    return problemText(firstFailure);
  }

  /** Returns why it cannot be removed; `undefined` if it has been. */
  async #remove(route: CloudRoute, table: RouteTable): Promise<ApiError | string | undefined> {
    if (route.id === undefined) return noIdText(route, table);
    try {
      await (this.#place as Place).api.deleteRoute(table.id, route.id, this.#stop.signal);
      this.#options.log.warn(
        `removed ${routeText(route)} of an earlier lease from ${table.id}`,
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
      const { action, code, requestId } = error;
      const message = this.#limitText(table, own);
      throw new ApiError({ action, code, message, requestId }, { cause: error });
    }
    this.#options.log.info(`created the route ${destination} by ${instance} in ${table.id}`);
  }

  #ownRoute(): OwnRoute {
    const { own, external } = this.#input as NodeInput;
    return {
      destination: own.subnets[4] as Prefix,
      // The cloud identifies an instance by the address of its interface, not by a translated one.
      instance: external.addresses[4] as IpAddress,
      network: this.#options.network,
    };
  }

  #limitText(table: RouteTable, own: OwnRoute): string {
    const inUse = new Set([own.destination, ...this.#peers.values()]);
    const unused = this.#knowsPeers ? orphanedRoutes(table, own, inUse) : [];
    const examples = unused.slice(0, 5).map(({ destination }) => destination).join(", ");
    const hint = unused.length === 0 ? "" : ` that no node uses any more, such as ${examples}`;
    return `${table.id} is full: it has ${table.routes.length} routes, and each node needs one; ` +
      `remove routes${hint}, request a higher quota from Tencent Cloud (50 by default), or use a ` +
      "backend that needs no cloud routes, such as vxlan";
  }

  #report(problem: string | undefined): void {
    const { log } = this.#options;
    if (problem !== undefined && problem !== this.#problem) log.warn(problem);
    if (problem === undefined && this.#problem !== undefined) {
      log.info("this node's route is in place");
    }
    this.#problem = problem;
    this.#failures = 0;
  }

  #failed(error: unknown): void {
    this.#failures++;
    const isExpected = error instanceof ApiError || error instanceof HttpError;
    const problem = isExpected ? explained(error) : (error as Error).stack ?? String(error);
    if (problem !== this.#problem) {
      // Not in the text: the request ID of each attempt is another one.
      const fields = error instanceof ApiError ? { requestId: error.requestId } : {};
      this.#options.log.warn(fields, `${problem}; retrying`);
    }
    this.#problem = problem;
  }
}

/** Throws a refusal of the API, so that it is retried soon. */
function problemText(problem: ApiError | string | undefined): string | undefined {
  if (problem instanceof ApiError) throw problem;
  return problem;
}

/** Every VPC has a main table: the key lacks the permission to see it. */
function noTableText({ vpcId, region }: Placement): string {
  return `no route table of ${vpcId} in ${region} is visible to this access key: use a key of ` +
    `the account that owns the VPC, and ${ALLOW_CALLS} on all its route tables`;
}

function routeText({ destination, gatewayType, gateway }: CloudRoute): string {
  return `the route ${destination} by ${printableName(gatewayType)} ${printableName(gateway)}`;
}

function conflictText(route: CloudRoute, { id }: RouteTable): string {
  return `${routeText(route)} in ${id} was not created by flannel and makes this node's subnet ` +
    "unreachable: delete it, or choose another Network";
}

/** A call cannot name it. */
function noIdText(route: CloudRoute, { id }: RouteTable): string {
  return `cannot remove ${routeText(route)} of an earlier lease from ${id}: it has no usable ` +
    "RouteId; remove it in the console of Tencent Cloud";
}

const isLimit = ({ code }: ApiError) =>
  code === "LimitExceeded" || code.startsWith("LimitExceeded.");

const ALLOW_CALLS = "allow DescribeRouteTables, CreateRoutes and DeleteRoutes for this key";

/** What to do, by the beginning of the error's code; the first match counts. */
const ADVICE: readonly { readonly code: string; readonly text: string; readonly isFinal?: true }[] =
  [
    { code: "AuthFailure.SignatureExpire", text: "correct the clock of this machine" },
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

/** Whether retrying cannot help. */
function isFinal(error: ApiError): boolean {
  return adviceFor(error)?.isFinal ?? false;
}

function explained(error: ApiError | HttpError): string {
  const advice = error instanceof ApiError ? adviceFor(error) : undefined;
  return advice === undefined ? error.message : `${error.message}; ${advice.text}`;
}
