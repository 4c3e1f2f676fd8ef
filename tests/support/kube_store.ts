/** Nodes with a store over an API server in memory, and what follows their leases. */

import { BACKENDS } from "../../src/backend/backend_registry.ts";
import { expect } from "bun:test";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network_config.ts";
import type { KubeNode } from "../../src/kube/kube_api.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { PerFamily } from "../../src/addr/family.ts";
import type { Lease, LeaseAttributes, LeaseKey, LeaseWatch } from "../../src/subnet/lease.ts";
import type { LeaseRequest, OwnLease } from "../../src/subnet/lease_store.ts";
import { KubeLeaseStore } from "../../src/subnet/kube/kube_lease_store.ts";
import { annotationNames } from "../../src/subnet/kube/node_annotations.ts";
import type { NodeNameSource } from "../../src/subnet/kube/own_node.ts";
import { collectingLog, type LogRecord } from "./collecting_log.ts";
import { settle } from "./fake_clock.ts";
import type { FakeKube } from "./fake_kube.ts";

export const PREFIX = "flannel.alpha.coreos.com";
export const NAMES = annotationNames(PREFIX);
export const IPV4 = config({ Network: "10.244.0.0/16" });
export const DUAL = config({
  Network: "10.244.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fd00:10::/48",
});
export const IPV6_ONLY = config({
  EnableIPv4: false,
  EnableIPv6: true,
  IPv6Network: "fd00:10::/48",
});
export const MAC = "de:36:6b:04:26:1b";

export function config(value: object): NetworkConfig {
  return parseNetworkConfig(JSON.stringify(value), {
    source: "test",
    allocation: "kubernetes",
    warn: () => {},
  });
}

/** What a vxlan node publishes. */
export function vxlan(
  addresses: PerFamily<string>,
  macs: PerFamily<string> = { 4: MAC },
): LeaseAttributes {
  const data = Object.entries(macs).map(([family, mac]) => [family, { VNI: 1, VtepMAC: mac }]);
  return {
    publicAddresses: addresses as PerFamily<IpAddress>,
    backendType: "vxlan",
    backendData: Object.fromEntries(data),
  };
}

/** Annotations of another vxlan node. */
export function annotationsOf(n: number, mac = macOf(n)): Record<string, string> {
  return {
    [NAMES.managed]: "true",
    [NAMES.backendType]: "vxlan",
    [NAMES.backendData[4]]: `{"VNI":1,"VtepMAC":"${mac}"}`,
    [NAMES.publicAddress[4]]: `192.0.${n >> 8}.${n & 255}`,
  };
}

export function macOf(n: number): string {
  const hex = n.toString(16).padStart(8, "0");
  return `02:00:${hex.match(/../g)?.join(":")}`;
}

export function createPeer(kube: FakeKube, n: number): KubeNode {
  const podCidrs = [`10.244.${n & 255}.0/24`];
  return kube.create(`n${n}`, { podCidrs, annotations: annotationsOf(n) });
}

export interface TestStore extends AsyncDisposable {
  readonly store: KubeLeaseStore;
  readonly records: LogRecord[];
  acquire(request?: Partial<LeaseRequest>): Promise<OwnLease>;
  /** Messages of info and above, with the level. */
  messages(): string[];
}

/** A node that knows its name. */
export function kubeStore(
  kube: FakeKube,
  { node = { kind: "name", name: "n1" }, setsCondition = true, manager }: {
    readonly node?: NodeNameSource;
    readonly setsCondition?: boolean;
    readonly manager?: string;
  } = {},
): TestStore {
  const { log, records } = collectingLog("debug");
  const store = new KubeLeaseStore({
    api: kube.client(manager),
    config: {
      networkConfig: () => Promise.resolve("{}"),
      watchNetworkConfig: () => {
        throw new Error("not used");
      },
    },
    node,
    names: NAMES,
    backendOf: (config) => BACKENDS.forNetwork(config),
    setsCondition,
    clock: kube.clock,
    log,
  });
  const cleanup = new AsyncDisposableStack();
  cleanup.use(store);
  return {
    store,
    records,
    acquire: async (request) => {
      const whole = {
        config: IPV4,
        attributes: vxlan({ 4: "192.0.2.1" }),
        previousSubnets: {},
        ...request,
      };
      const own = await within(kube, store.acquire(whole, forever));
      cleanup.use(own);
      return own;
    },
    messages: () =>
      records.filter(({ level }) => level !== "debug").map(({ level, msg }) => `${level} ${msg}`),
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}

export const forever = new AbortController().signal;

/** The promise's result, with time passing. */
export async function within<T>(kube: FakeKube, promise: Promise<T>, seconds = 60): Promise<T> {
  let done = false;
  const end = () => done = true;
  promise.then(end, end);
  for (let i = 0; i < 10 && !done; i++) await settle();
  for (let i = 0; i < seconds && !done; i++) await kube.clock.advance(1000);
  return await Promise.race([promise, Promise.reject(new Error(`not within ${seconds} s`))]);
}

export async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not fail");
}

/** What a reader of the events knows. */
export class LeaseFollow implements AsyncDisposable {
  readonly leases = new Map<LeaseKey, Lease>();
  readonly invalid = new Map<LeaseKey, string>();
  /** Such as `snapshot 2`, `put node/n2`. */
  readonly events: string[] = [];
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  error: unknown;

  constructor(store: KubeLeaseStore) {
    this.#done = this.#follow(store.watchLeases(this.#stop.signal)).catch((error) => {
      this.error = error;
    });
  }

  get subnets(): string[] {
    return [...this.leases.values()].map(({ key, subnets }) =>
      `${key} ${Object.values(subnets).join(" ")}`
    ).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
    expect(this.error).toBe(undefined);
  }

  async #follow(events: AsyncIterable<LeaseWatch>): Promise<void> {
    for await (const event of events) this.#take(event);
  }

  #take(event: LeaseWatch): void {
    switch (event.kind) {
      case "snapshot":
        this.leases.clear();
        this.invalid.clear();
        for (const lease of event.leases) this.leases.set(lease.key, lease);
        for (const { key, reason } of event.invalid) this.invalid.set(key, reason);
        this.events.push(`snapshot ${event.leases.length}`);
        break;
      case "put":
        this.leases.set(event.lease.key, event.lease);
        this.invalid.delete(event.lease.key);
        this.events.push(`put ${event.lease.key}`);
        break;
      case "invalid":
        this.leases.delete(event.invalid.key);
        this.invalid.set(event.invalid.key, event.invalid.reason);
        this.events.push(`invalid ${event.invalid.key}`);
        break;
      case "delete":
        this.leases.delete(event.key);
        this.invalid.delete(event.key);
        this.events.push(`delete ${event.key}`);
    }
  }
}
