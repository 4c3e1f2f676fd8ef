/**
 * A daemon's surroundings in memory: kernel, clock, store, firewall, files, systemd. The backends,
 * the reconciler and the other parts of the daemon are the real ones. `events` lists their effects
 * on the surroundings, in order; tests set faults.
 */

import type { PerFamily } from "../../src/addr/family.ts";
import type { GivenAddress } from "../../src/addr/given_address.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import { unlessAborted, whenAborted } from "../../src/base/abort.ts";
import { parseCommandLine } from "../../src/cli/command_line.ts";
import type { DaemonOptions } from "../../src/cli/daemon_options.ts";
import type { SubnetAllocation } from "../../src/config/network_config.ts";
import type { StatusDocument } from "../../src/control/status_document.ts";
import type { DaemonPorts } from "../../src/daemon/daemon_ports.ts";
import type { PeersDocument } from "../../src/control/peer_document.ts";
import { peersDocument } from "../../src/daemon/peers_report.ts";
import { statusDocument } from "../../src/daemon/status_report.ts";
import type { FirewallManager, FirewallStatus } from "../../src/firewall/firewall.ts";
import type { HostInterface } from "../../src/host/host_interface.ts";
import type { Resource, Route } from "../../src/state/resource.ts";
import type { Step } from "../../src/state/step.ts";
import type { Lease, LeaseAttributes, LeaseWatch } from "../../src/subnet/lease.ts";
import type { LeaseRequest, LeaseStore, OwnLease } from "../../src/subnet/lease_store.ts";
import { formatSubnetFile, type PreviousSubnetFile } from "../../src/subnet/subnet_file.ts";
import { collectingLog } from "./collecting_log.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeKernel, stepText } from "./fake_kernel.ts";
import { HOST, ip, lease, prefix } from "./sample_network.ts";

const DEFAULT_ROUTE: Route = {
  kind: "route",
  type: "unicast",
  destination: prefix("0.0.0.0/0"),
  link: "eth0",
  gateway: ip("192.168.0.254"),
  onlink: false,
  scope: "universe",
  metric: 0,
  protocol: 4,
  table: 254,
};

export const CONFIG =
  '{"Network": "10.5.0.0/16", "EnableNFTables": true, "Backend": {"Type": "vxlan"}}';

/** Calls that a test makes fail, by the name of the port. */
export type Fault =
  | "privilege"
  | "subnet file check"
  | "health server"
  | "open kernel"
  | "open store"
  | "network config"
  | "br_netfilter"
  | "claim"
  | "serve status"
  | "interfaces"
  | "prescribed addresses"
  | "previous lease"
  | "acquire"
  | "open firewall"
  | "install rules"
  | "write file"
  | "update lease"
  | "watch leases"
  | "watch config";

export class FakeDaemonWorld {
  readonly events: string[] = [];
  readonly clock = new FakeClock(() => 0.5);
  readonly kernel = new FakeKernel();
  readonly store = new FakeStore(this);
  readonly firewall = new FakeFirewall(this);
  readonly faults = new Map<Fault, Error>();
  readonly log = collectingLog();
  /** systemd's messages. */
  readonly notified: string[] = [];
  interfaces: HostInterface[] = [eth0()];
  interfaceReads = 0;
  memoryReleases = 0;
  /** Waited for by each reading of the interfaces. */
  reading: Promise<void> = Promise.resolve();
  sysctls: Record<string, string> = { "net/ipv4/ip_forward": "1" };
  previousFile: PreviousSubnetFile = { networks: {}, subnets: {} };
  gateway = "192.168.0.254";
  /** The subnet file; `undefined` until it is written. */
  file: string | undefined;
  /** Refuses a step with this errno. */
  refusal: (step: Step) => string | undefined = () => undefined;
  /** What `/readyz` would show; `undefined` without a health server. */
  readyz: (() => readonly string[]) | undefined;
  /** What the status socket serves; `undefined` while it is not open. */
  status:
    | {
      readonly path: string;
      readonly document: () => StatusDocument;
      readonly peers: (query: URLSearchParams) => Promise<PeersDocument>;
    }
    | undefined;
  readonly ports: DaemonPorts;

  constructor() {
    this.kernel.seed(...HOST, DEFAULT_ROUTE);
    this.kernel.refuse = (step) => {
      this.events.push(stepText(step));
      return this.refusal(step);
    };
    this.ports = fakePorts(this);
  }

  /** Throws the fault of this name, if a test has set it. */
  attempt(fault: Fault): void {
    const error = this.faults.get(fault);
    if (error !== undefined) throw error;
  }

  /** Records the end of something. */
  disposable(what: string): Disposable {
    return { [Symbol.dispose]: () => void this.events.push(what) };
  }

  /** Messages of the log at info and above. */
  logged(): string[] {
    return this.log.records.filter(({ level }) => level !== "debug" && level !== "trace")
      .map(({ level, msg }) => `${level} ${msg}`);
  }

  /** Lets time pass until the promise settles. */
  async settled<T>(promise: Promise<T>, maxMs = 60_000): Promise<T | Error> {
    let isSettled = false;
    const result = promise.catch((error: Error) => error).finally(() => isSettled = true);
    for (let ms = 0; !isSettled; ms += 50) {
      if (ms >= maxMs) throw new Error(`not settled within ${maxMs} ms: ${this.events.join(", ")}`);
      await this.clock.advance(50);
    }
    return await result;
  }
}

export function eth0(
  { mtuBytes = 1500, addresses = ["192.168.0.1"] }: {
    mtuBytes?: number;
    addresses?: readonly string[];
  } = {},
): HostInterface {
  return {
    name: "eth0",
    ifindex: 2,
    mtuBytes,
    isUp: true,
    addresses: addresses.map((text) => ({
      address: ip(text),
      prefixLength: 24,
      isPermanent: true,
      isTemporary: false,
      isDeprecated: false,
    })),
  };
}

export function daemonOptions(flags: readonly string[] = []): DaemonOptions {
  const command = parseCommandLine(["--subnet-file=/fake/subnet.env", ...flags], {});
  if (command.kind !== "daemon") throw new Error(`${flags} does not start the daemon`);
  return command.options;
}

function fakePorts(world: FakeDaemonWorld): DaemonPorts {
  const { events, clock, store } = world;
  return {
    clock,
    env: {},
    random: (length) => new Uint8Array(length).fill(7),
    requireNetworkPrivilege: () => world.attempt("privilege"),
    subnetFile: {
      check: () => world.attempt("subnet file check"),
      read: () => world.previousFile,
      write: (path, content) =>
        Promise.try(() => {
          world.attempt("write file");
          world.file = formatSubnetFile(content);
          events.push(`wrote ${path}`);
        }),
    },
    openKernel: () => {
      world.attempt("open kernel");
      events.push("opened the kernel");
      const { kernel } = world;
      return Object.assign(Object.create(kernel), {
        dump: kernel.dump.bind(kernel),
        apply: kernel.apply.bind(kernel),
        watch: kernel.watch.bind(kernel),
        routeTo: kernel.routeTo.bind(kernel),
        link: kernel.link.bind(kernel),
        [Symbol.dispose]: () => void events.push("closed the kernel"),
      });
    },
    readInterfaces: async () => {
      world.interfaceReads++;
      await world.reading;
      world.attempt("interfaces");
      return world.interfaces;
    },
    readSysctl: (path) => Promise.resolve(world.sysctls[path]),
    readHostDependencies: () =>
      Promise.resolve({
        gateways: [{ address: ip(world.gateway), what: "the gateway of this host" }],
        resolvers: [],
        endpoints: [],
      }),
    wireguardSupport: () => Promise.resolve("kernel" as const),
    openXfrmStates: () => {
      throw new Error("this test has no IPsec");
    },
    bridgeNetfilterProblem: () => world.faults.get("br_netfilter")?.message,
    createFirewallManager: ({ mode }) =>
      Promise.try(() => {
        world.attempt("open firewall");
        events.push(`opened ${mode}`);
        return world.firewall;
      }),
    releaseMemory: () => void world.memoryReleases++,
    openStore: () =>
      Promise.try(() => {
        world.attempt("open store");
        const networkChanged = () => Promise.resolve();
        const endpoints = ["http://192.0.2.1:2379"];
        return {
          kind: "etcd" as const,
          store,
          configSource: "/test/config in etcd",
          endpoints,
          networkChanged,
        };
      }),
    createNotifier: () => ({
      isActive: true,
      ready: (status) => void world.notified.push(`READY ${status}`),
      status: (text) => void world.notified.push(text),
      stopping: () => void world.notified.push("STOPPING"),
      watchdog: () => world.disposable("watchdog ended"),
    }),
    startHealthServer: ({ problems }) => {
      world.attempt("health server");
      world.readyz = problems;
      return { port: 0, ...world.disposable("health server ended") };
    },
    claimDevice: (device) =>
      Promise.try(() => {
        world.attempt("claim");
        events.push(`claimed ${device}`);
        return world.disposable(`released ${device}`);
      }),
    serveStatus: ({ path, facts }) =>
      Promise.try(() => {
        world.attempt("serve status");
        world.status = {
          path,
          document: () => statusDocument(facts),
          peers: (query) => peersDocument(facts, query),
        };
        return { [Symbol.dispose]: () => void (world.status = undefined) };
      }),
  };
}

/** An async iterable that a test feeds; when the signal aborts, it ends after what was pushed. */
class Feed<T> {
  #waiting: T[] = [];
  #wake = Promise.withResolvers<void>();

  push(value: T): void {
    this.#waiting.push(value);
    this.#wake.resolve();
  }

  async *values(signal: AbortSignal): AsyncGenerator<T> {
    signal.addEventListener("abort", () => this.#wake.resolve());
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) {
        yield next;
        continue;
      }
      if (signal.aborted) return;
      await this.#wake.promise;
      this.#wake = Promise.withResolvers();
    }
  }
}

/** A lease store with one network; a test writes the other nodes' leases. */
export class FakeStore implements LeaseStore {
  readonly description = "etcd";
  allocation: SubnetAllocation = "flanneld";
  /** Public addresses that it prescribes for this node. */
  prescribed: PerFamily<GivenAddress> = {};
  config: string | undefined = CONFIG;
  previous: Lease | undefined;
  /** Requests of `acquire`. */
  readonly requests: LeaseRequest[] = [];
  /** Public addresses that `update` wrote. */
  readonly published: PerFamily<string>[] = [];
  problem: string | undefined;
  /** Public addresses of live nodes. */
  readonly liveNodes = new Set<string>();
  readonly #world: FakeDaemonWorld;
  readonly #leases = new Feed<LeaseWatch>();
  readonly #configs = new Feed<{ text: string | undefined }>();
  readonly #lost = Promise.withResolvers<string>();

  constructor(world: FakeDaemonWorld) {
    this.#world = world;
  }

  // ---- The port

  networkConfig(): Promise<string | undefined> {
    return Promise.try(() => {
      this.#world.attempt("network config");
      return this.config;
    });
  }

  async *watchNetworkConfig(signal: AbortSignal): AsyncGenerator<string | undefined> {
    this.#world.attempt("watch config");
    for await (const { text } of this.#configs.values(signal)) yield text;
  }

  prescribedAddresses(): Promise<PerFamily<GivenAddress>> {
    return Promise.try(() => {
      this.#world.attempt("prescribed addresses");
      return this.prescribed;
    });
  }

  previousLease(): Promise<Lease | undefined> {
    return Promise.try(() => {
      this.#world.attempt("previous lease");
      return this.previous;
    });
  }

  acquire(request: LeaseRequest): Promise<OwnLease> {
    return Promise.try(() => {
      this.#world.attempt("acquire");
      this.requests.push(request);
      this.#world.events.push("acquired the lease");
      return this.own({ ...lease(1, "vxlan", [4]), attributes: request.attributes });
    });
  }

  async *watchLeases(signal: AbortSignal): AsyncGenerator<LeaseWatch> {
    this.#world.attempt("watch leases");
    try {
      for await (const event of this.#leases.values(signal)) yield event;
    } finally {
      // A connection takes a moment to close.
      await new Promise((resolve) => setImmediate(resolve));
      this.#world.events.push("lease watch ended");
    }
  }

  async *watchAlive(address: IpAddress, signal: AbortSignal): AsyncGenerator<boolean> {
    yield this.liveNodes.has(address);
    await whenAborted(signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#world.events.push("closed the store");
    return Promise.resolve();
  }

  // ---- What a test does

  own(held: Lease): OwnLease {
    const [world, store] = [this.#world, this];
    return {
      lease: held,
      lost: this.#lost.promise,
      get problem() {
        return store.problem;
      },
      update: ({ publicAddresses }: LeaseAttributes) =>
        Promise.try(() => {
          world.attempt("update lease");
          store.published.push(publicAddresses);
        }),
      networkReady: () => void world.events.push("the store knows that the network is ready"),
      [Symbol.asyncDispose]: () => Promise.resolve(void world.events.push("released the lease")),
    };
  }

  lease(event: LeaseWatch): void {
    this.#leases.push(event);
  }

  /** The first complete list of the other nodes' leases. */
  snapshot(...leases: readonly Lease[]): void {
    this.lease({ kind: "snapshot", leases, invalid: [], revision: 1n });
  }

  changeConfig(text: string | undefined): void {
    this.#configs.push({ text });
  }

  lose(reason: string): void {
    this.#lost.resolve(reason);
  }
}

export class FakeFirewall implements FirewallManager {
  state: FirewallStatus = { isInSync: true };
  /** Waited for by `whenInstalled`. */
  installing: Promise<void> = Promise.resolve();
  readonly #world: FakeDaemonWorld;

  constructor(world: FakeDaemonWorld) {
    this.#world = world;
  }

  setRules(): void {
    this.#world.events.push("set the rules");
  }

  async whenInstalled(signal?: AbortSignal): Promise<void> {
    this.#world.attempt("install rules");
    await (signal === undefined ? this.installing : unlessAborted(this.installing, signal));
    this.#world.events.push("the rules are installed");
  }

  status(): FirewallStatus {
    return this.state;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#world.events.push("firewall ended");
    return Promise.resolve();
  }
}

/** Our own kernel entries, as text. */
export function ownEntries(world: FakeDaemonWorld): string {
  return world.kernel.text((resource: Resource) =>
    !HOST.includes(resource) && resource !== DEFAULT_ROUTE
  );
}
