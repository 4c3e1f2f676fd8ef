import { beforeEach, describe, expect, test } from "bun:test";
import { Network, type NetworkOptions } from "../../../src/daemon/network.ts";
import { NetworkError } from "../../../src/daemon/network_error.ts";
import { Readiness } from "../../../src/daemon/readiness.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import type { NetworkConfig } from "../../../src/config/network_config.ts";
import { FirewallError } from "../../../src/firewall/firewall.ts";
import { ExcludedAddresses } from "../../../src/host/excluded_addresses.ts";
import type { Backend } from "../../../src/overlay/backend.ts";
import { BackendError } from "../../../src/overlay/backend_error.ts";
import type { BackendTarget } from "../../../src/overlay/backend_target.ts";
import type { OtherLink, Resource } from "../../../src/state/resource.ts";
import { linkKey } from "../../../src/state/resource_key.ts";
import type { LeaseWatch } from "../../../src/subnet/lease.ts";
import { StoreError } from "../../../src/subnet/lease_store.ts";
import { daemonOptions, eth0, FakeDaemonWorld, ownEntries } from "../../support/fake_daemon.ts";
import { backendHost, config, external, ip, lease } from "../../support/sample_network.ts";

const isOverlayDevice = (name: string) => BACKENDS.isDeviceName(name);

const FILE = "/fake/subnet.env";
const NETWORK_READY = "the store knows that the network is ready";
const DEVICE = "set link flannel.1: mtu 1450 state up address 02:01:01:01:01:01 type vxlan id 1 " +
  "local 192.168.0.1 dev eth0 dstport 8472 nolearning";
const DEVICE_ADDRESS = "set addr 10.5.1.0/32 dev flannel.1";

let world: FakeDaemonWorld;
let stop: AbortController;
let readiness: Readiness;

beforeEach(() => {
  world = new FakeDaemonWorld();
  stop = new AbortController();
  readiness = new Readiness(
    world.ports.createNotifier({ log: world.log.log, clock: world.clock }),
  );
});

/** A vxlan node by default, with a target besides the kernel's tables if a test gives one. */
async function options(target?: BackendTarget, type = "vxlan"): Promise<NetworkOptions> {
  const network: NetworkConfig = { ...config(type, [4]), enableNftables: true };
  const { prepare } = await BACKENDS.forNetwork(network).load();
  const backend: Backend = await prepare(backendHost(world.kernel, network));
  if (target !== undefined) Object.defineProperty(backend, "target", { value: target });
  const { readHostDependencies } = world.ports;
  const excluded = new ExcludedAddresses({
    families: network.families,
    read: () =>
      readHostDependencies({
        kernel: world.kernel,
        endpoints: [],
        isOverlayDevice,
        clock: world.clock,
      }),
    ownSubnets: [],
    isOverlayDevice,
  });
  return {
    options: daemonOptions(),
    config: network,
    backend,
    external: external([4]),
    given: {},
    own: world.store.own({ ...lease(1, type, [4]), attributes: backend.attributes }),
    excluded,
    previousNetworks: [],
    kernel: world.kernel,
    store: world.store,
    ports: world.ports,
    readiness,
    log: world.log.log,
  };
}

async function start(target?: BackendTarget, type?: string): Promise<Network> {
  const network = await world.settled(Network.start(await options(target, type), stop.signal));
  if (network instanceof Error) throw network;
  return network;
}

/** Starts, and follows the leases of these nodes until it is ready. */
async function startReady(target?: BackendTarget, ...nodes: number[]): Promise<Network> {
  const network = await start(target);
  let isReady = false;
  void network.followLeases(stop.signal, () => isReady = true);
  world.store.snapshot(...nodes.map((n) => lease(n, "vxlan", [4])));
  await world.clock.advance(2000);
  expect(isReady).toBe(true);
  world.events.length = 0;
  return network;
}

async function failure(target?: BackendTarget): Promise<Error> {
  const result = await world.settled(Network.start(await options(target), stop.signal));
  if (!(result instanceof Error)) throw new Error("it has started");
  return result;
}

/** Work outside the kernel's tables; `events` shows its requests. */
function target(more: Partial<BackendTarget> = {}): BackendTarget {
  const event = (text: string) => void world.events.push(text);
  return {
    start: () => Promise.resolve(event("target started")),
    externalChanged: ({ external }) => event(`target has MTU ${external.mtuBytes}`),
    put: ({ key }) => event(`target has peer ${key}`),
    remove: ({ key }) => event(`target lost peer ${key}`),
    allowSweep: () => event("target may sweep"),
    whenSettled: () => Promise.resolve(),
    problems: () => [],
    [Symbol.asyncDispose]: () => Promise.resolve(event("target ended")),
    ...more,
  };
}

/** A change that another program makes. */
function outside(resource: Resource): void {
  world.kernel.outside({ op: "delete", resource });
}

describe("the start of a node", () => {
  test("is rules, device, subnet file, the peers' entries, ready", async () => {
    const network = await start();
    expect(world.events).toEqual([
      "opened nftables",
      "set the rules",
      DEVICE,
      DEVICE_ADDRESS,
      "the rules are installed",
      `wrote ${FILE}`,
    ]);
    expect(world.file).toBe(
      "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\n" +
        "FLANNEL_IPMASQ=false\n",
    );
    world.events.length = 0;
    let isReady = false;
    void network.followLeases(stop.signal, () => isReady = true);
    await world.clock.advance(1000);
    expect([isReady, world.events]).toEqual([false, []]);
    world.store.snapshot(lease(2, "vxlan", [4]), lease(3, "vxlan", [4]));
    await world.clock.advance(1000);
    expect(isReady).toBe(true);
    const isExpected = (event: string) => event.startsWith("set route") || event === NETWORK_READY;
    expect(world.events.filter(isExpected)).toEqual([
      "set route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink",
      "set route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 70 onlink",
      NETWORK_READY,
    ]);
    expect(network.summary()).toBe("vxlan: subnet 10.5.1.0/24, 2 peers");
    expect(world.notified).toEqual([
      "installing the firewall rules and this node's own kernel entries",
      "installing the kernel entries for 2 peers",
      `writing the subnet file ${FILE}`,
    ]);
  });

  test("starts the target after the node's own entries and before the subnet file", async () => {
    await start(target());
    expect(world.events.slice(-3)).toEqual([
      "the rules are installed",
      "target started",
      `wrote ${FILE}`,
    ]);
    expect(world.notified.at(-1)).toBe("starting the vxlan backend");
  });

  test("notifies the target of the peers, and then that the list is complete", async () => {
    const network = await start(target());
    world.events.length = 0;
    void network.followLeases(stop.signal, () => {});
    world.store.snapshot(lease(2, "vxlan", [4]));
    await world.clock.advance(1000);
    expect(world.events.filter((event) => event.startsWith("target"))).toEqual([
      "target has peer node-2",
      "target may sweep",
    ]);
  });

  test("notifies the target of a change of the interface while it started", async () => {
    const slow = target({
      start: () => {
        world.interfaces = [eth0({ mtuBytes: 1400 })];
        world.kernel.overrun();
        return new Promise((resolve) => void world.clock.setTimer(2000, resolve));
      },
    });
    await start(slow);
    expect(world.events.filter((event) => event.startsWith("target"))).toEqual([
      "target has MTU 1400",
    ]);
    expect(world.file).toContain("FLANNEL_MTU=1350\n");
  });

  test("keeps an earlier run's routes until the reachability of the peers is known", async () => {
    const peer = lease(2, "host-gw", [4]);
    const { backend } = await options(undefined, "host-gw");
    const [route] = backend.peer(
      peer,
      { own: lease(1, "host-gw", [4]), external: external([4]) },
      { direct: { 4: true }, path: {} },
    );
    world.kernel.seed(route as Resource);
    const known = Promise.withResolvers<void>();
    const { routeTo } = world.kernel;
    world.kernel.routeTo = async (address) => {
      await known.promise;
      return await routeTo.call(world.kernel, address);
    };
    const network = await start(undefined, "host-gw");
    world.events.length = 0;
    void network.followLeases(stop.signal, () => {});
    world.store.snapshot(peer);
    await world.clock.advance(10_000);
    known.resolve();
    await world.clock.advance(1000);
    expect(world.events).toEqual(["opened the kernel", "closed the kernel", NETWORK_READY]);
    expect(ownEntries(world)).toContain("route 10.5.2.0/24 via 192.168.0.2");
  });

  test("processes no lease after the signal", async () => {
    const network = await start(target({ whenSettled: () => new Promise(() => {}) }));
    const following = network.followLeases(stop.signal, () => {});
    world.store.snapshot(lease(2, "vxlan", [4]));
    world.store.lease({ kind: "put", lease: lease(3, "vxlan", [4]) });
    await world.clock.advance(1000);
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(following);
    expect(world.events).toContain("target has peer node-2");
    expect(world.events).not.toContain("target has peer node-3");
  });

  test("removes stale entries only after the first complete list of leases", async () => {
    const [stale] = (await (await options()).backend.peer(
      lease(9, "vxlan", [4]),
      { own: lease(1, "vxlan", [4]), external: external([4]) },
      { direct: {}, path: {} },
    )).filter(({ kind }) => kind === "route");
    const network = await start();
    world.kernel.outside({ op: "set", resource: stale as Resource });
    await world.clock.advance(10_000);
    expect(ownEntries(world)).toContain("10.5.9.0/24");
    void network.followLeases(stop.signal, () => {});
    world.store.snapshot();
    await world.clock.advance(1000);
    expect(ownEntries(world)).not.toContain("10.5.9.0/24");
  });

  test("uses the present interface, and notifies the target of no earlier change", async () => {
    world.interfaces = [eth0({ mtuBytes: 1400 })];
    await start(target());
    expect(world.events.filter((event) => /mtu|MTU/.test(event)).map((event) => event.slice(0, 50)))
      .toEqual([
        "set link flannel.1: mtu 1450 state up address 02:0",
        "change link flannel.1: mtu 1350 state up address 0",
      ]);
    expect(world.file).toContain("FLANNEL_MTU=1350\n");
  });
});

describe("a start that fails", () => {
  const ENDED = "firewall ended";

  test("because the firewall cannot be opened, writes no subnet file", async () => {
    const error = new FirewallError("cannot run iptables-restore: not found");
    world.faults.set("open firewall", error);
    expect(await failure(target())).toBe(error);
    expect(world.file).toBeUndefined();
    expect(world.events).toContain("target ended");
    expect(world.events).not.toContain("target started");
  });

  test("because the kernel refuses the device, names it and keeps the rules", async () => {
    world.refusal = (step) => step.resource.kind === "link" ? "EOPNOTSUPP" : undefined;
    const error = await failure();
    expect(error).toBeInstanceOf(NetworkError);
    expect(error.message).toStartWith('cannot set up "link flannel.1: mtu 1450');
    expect(error.message).toEndWith('": EOPNOTSUPP');
    expect(world.file).toBeUndefined();
    expect(world.events.at(-1)).toBe(ENDED);
    expect(world.events).not.toContain("the rules are installed");
  });

  test("because the interface is gone, says so", async () => {
    world.interfaces = [];
    const error = await failure();
    expect(error).toBeInstanceOf(NetworkError);
    expect(error.message).toBe("interface eth0 is gone");
    expect(world.file).toBeUndefined();
    expect(ownEntries(world)).toContain("flannel.1");
  });

  test("because the interfaces cannot be read, throws the error", async () => {
    const error = new Error("cannot read the links: EMFILE");
    world.faults.set("interfaces", error);
    expect(await failure()).toBe(error);
    expect(world.events.at(-1)).toBe(ENDED);
  });

  test("because the rules cannot be installed, keeps the device and writes no file", async () => {
    const error = new FirewallError("cannot install the rules: EPERM");
    world.faults.set("install rules", error);
    expect(await failure(target())).toBe(error);
    expect(world.events).not.toContain("target started");
    expect(world.file).toBeUndefined();
    expect(ownEntries(world)).toContain("flannel.1");
  });

  test("because the target cannot start, writes no file and ends the target", async () => {
    const error = new BackendError("cannot start charon: not found");
    expect(await failure(target({ start: () => Promise.reject(error) }))).toBe(error);
    expect(world.file).toBeUndefined();
    expect(world.events.slice(-2)).toEqual([ENDED, "target ended"]);
  });

  test("because a signal stops the wait for the rules, throws its reason", async () => {
    world.firewall.installing = new Promise(() => {});
    const starting = failure();
    await world.clock.advance(1000);
    stop.abort(new Error("stopped by SIGTERM"));
    expect((await starting).message).toBe("stopped by SIGTERM");
    expect(world.events.at(-1)).toBe(ENDED);
  });

  test("stops its parts: the device is not restored any more", async () => {
    world.faults.set("install rules", new FirewallError("cannot install the rules: EPERM"));
    await failure();
    outside(world.kernel.table.get(linkKey("flannel.1")) as Resource);
    await world.clock.advance(60_000);
    expect(ownEntries(world)).toBe("");
    expect(world.kernel.text()).toContain("eth0");
  });
});

describe("a subnet file that cannot be written", () => {
  test("does not fail the start, delays readiness, and is retried", async () => {
    world.faults.set("write file", new Error("EROFS: read-only file system"));
    const network = await start();
    let isReady = false;
    void network.followLeases(stop.signal, () => isReady = true);
    world.store.snapshot();
    await world.clock.advance(12_000);
    expect(isReady).toBe(false);
    expect(world.events).not.toContain(NETWORK_READY);
    const problem = `cannot write the subnet file ${FILE}: EROFS: read-only file system`;
    expect(network.problems()).toEqual([problem]);
    expect(world.notified.at(-1)).toBe(`writing the subnet file ${FILE}`);
    world.faults.clear();
    await world.clock.advance(5000);
    expect(isReady).toBe(true);
    expect(network.problems()).toEqual([]);
    expect(world.events.filter((event) => event === NETWORK_READY)).toHaveLength(1);
    expect(world.logged()).toEqual([
      `error ${problem}; retrying`,
      `info wrote the subnet file ${FILE}`,
    ]);
  });
});

describe("a running node", () => {
  test("whose interface gets another MTU, changes the device and the subnet file", async () => {
    await startReady(target());
    world.interfaces = [eth0({ mtuBytes: 1400 })];
    world.kernel.overrun();
    await world.clock.advance(2000);
    expect(ownEntries(world)).toContain("link flannel.1: mtu 1350 ");
    expect(world.file).toContain("FLANNEL_MTU=1350\n");
    expect(world.events).toContain("target has MTU 1400");
    expect(world.events).not.toContain(NETWORK_READY);
    expect(world.store.published).toEqual([]);
  });

  test("notices a change of its interface also after it was renamed", async () => {
    const link = world.kernel.table.get(linkKey("eth0")) as OtherLink;
    await startReady();
    const lan0 = { ...link, name: "lan0" };
    world.kernel.outside({ op: "set", resource: lan0 }, { op: "delete", resource: link });
    world.interfaces = [{ ...eth0(), name: "lan0" }];
    world.kernel.overrun();
    await world.clock.advance(2000);
    expect(ownEntries(world)).toContain("dev lan0");
    world.interfaces = [{ ...eth0({ mtuBytes: 1400 }), name: "lan0" }];
    world.kernel.outside({ op: "change", resource: { ...lan0, mtuBytes: 1400 }, from: lan0 });
    await world.clock.advance(2000);
    expect(world.file).toContain("FLANNEL_MTU=1350\n");
  });

  test("has a problem while another live node has its identity", async () => {
    const network = await startReady();
    world.store.liveNodes.add("192.168.0.2");
    const copy = lease(2, "vxlan", [4]);
    const { backendData } = (await options()).backend.attributes;
    world.store.lease({
      kind: "put",
      lease: { ...copy, attributes: { ...copy.attributes, backendData } },
    });
    await world.clock.advance(1000);
    expect(network.problems()).toEqual([
      expect.stringMatching(/^lease node-2 of 192\.168\.0\.2 contains this node's VtepMAC /),
    ]);
  });

  test("whose address changes, publishes it and retries until the store accepts it", async () => {
    const network = await startReady();
    world.interfaces = [eth0({ addresses: ["192.168.0.77"] })];
    world.faults.set("update lease", new StoreError("no connection to etcd"));
    world.kernel.overrun();
    await world.clock.advance(2000);
    expect(network.problems()).toEqual([
      "cannot publish the public address 192.168.0.77: no connection to etcd",
    ]);
    expect(ownEntries(world)).toContain("local 192.168.0.77");
    world.faults.clear();
    await world.clock.advance(10_000);
    expect(world.store.published).toEqual([{ 4: ip("192.168.0.77") }]);
    expect(network.problems()).toEqual([]);
  });

  test("whose interface is gone, has a problem until it is back", async () => {
    const network = await startReady();
    world.interfaces = [];
    world.kernel.overrun();
    await world.clock.advance(2000);
    expect(network.problems()).toEqual(["interface eth0 is gone"]);
    world.interfaces = [eth0()];
    world.kernel.overrun();
    await world.clock.advance(2000);
    expect(network.problems()).toEqual([]);
    expect(world.logged()).toEqual([
      "warn interface eth0 is gone; waiting for it to come back",
      "info interface eth0 can be used again",
    ]);
  });

  test("has the problem of the firewall, of its lease and of the target", async () => {
    const network = await startReady(target({ problems: () => ["charon does not respond"] }));
    world.firewall.state = { isInSync: false, problem: "cannot restore table nat: EPERM" };
    world.store.problem = "cannot renew the lease";
    expect(network.problems()).toEqual([
      "firewall rules: cannot restore table nat: EPERM",
      "cannot renew the lease",
      "charon does not respond",
    ]);
    expect(readiness.problems()).toEqual([
      `writing the subnet file ${FILE}`,
      ...network.problems(),
    ]);
  });

  test("has the problem of an entry that the kernel refuses, and at most 20 of them", async () => {
    const network = await startReady();
    world.refusal = ({ resource }) => resource.kind === "route" ? "ENOBUFS" : undefined;
    for (let n = 2; n < 32; n++) {
      world.store.lease({ kind: "put", lease: lease(n, "vxlan", [4]) });
    }
    await world.clock.advance(1000);
    const problems = network.problems();
    expect(problems[0]).toBe(
      "route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink: ENOBUFS",
    );
    expect([problems.length, problems.at(-1)]).toEqual([21, "and 10 more"]);
  });

  test("counts peers, and leases that it ignores", async () => {
    const network = await startReady(undefined, 2, 3);
    world.store.lease({ kind: "put", lease: { ...lease(4, "vxlan", [4]), subnets: {} } });
    await world.clock.advance(1000);
    expect(network.summary()).toBe("vxlan: subnet 10.5.1.0/24, 2 peers, 1 lease ignored");
    expect(network.problems()).toEqual([]);
  });

  test("releases memory a while after a change of the leases, and not otherwise", async () => {
    await startReady(undefined, 2);
    expect(world.memoryReleases).toBe(0);
    await world.clock.advance(20_000);
    expect(world.memoryReleases).toBe(1);
    await world.clock.advance(3_600_000);
    expect(world.memoryReleases).toBe(1);
    world.store.lease({ kind: "put", lease: lease(7, "vxlan", [4]) });
    await world.clock.advance(20_000);
    expect(world.memoryReleases).toBe(2);
  });

  test("ignores a lease whose subnet contains the gateway, once that moves there", async () => {
    const network = await startReady(undefined, 2);
    world.gateway = "10.5.2.254";
    world.kernel.overrun();
    await world.clock.advance(2000);
    expect(network.summary()).toBe("vxlan: subnet 10.5.1.0/24, 0 peers, 1 lease ignored");
    expect(ownEntries(world)).not.toContain("10.5.2.0/24");
  });

  test("has a problem after a change that it cannot process, until the next snapshot", async () => {
    const network = await startReady(undefined, 2);
    world.store.lease({ kind: "put" } as LeaseWatch);
    await world.clock.advance(100);
    expect(network.problems()).toEqual([
      expect.stringMatching(/^cannot process a change of the other nodes' leases: /),
    ]);
    expect(ownEntries(world)).toContain("10.5.2.0/24");
    expect(world.logged().at(-1)).toMatch(/^error cannot process .*; restart flanneld$/);
    world.store.snapshot(lease(2, "vxlan", [4]));
    await world.clock.advance(100);
    expect(network.problems()).toEqual([]);
  });
});

describe("the end of a node", () => {
  const ENDS = ["firewall ended", "target ended"];

  test("removes nothing and ends every part", async () => {
    const network = await startReady(target(), 2);
    const before = world.kernel.text();
    stop.abort(new Error("stopped by SIGTERM"));
    await world.clock.advance(100);
    await world.settled(network[Symbol.asyncDispose]());
    expect(world.events.splice(0, 1)).toEqual(["lease watch ended"]);
    expect(world.events).toEqual(ENDS);
    expect(world.kernel.text()).toBe(before);
    expect(world.file).toBeDefined();
    outside(world.kernel.table.get(linkKey("flannel.1")) as Resource);
    const { interfaceReads } = world;
    world.kernel.overrun();
    await world.clock.advance(600_000);
    expect(ownEntries(world)).not.toContain("link flannel.1");
    expect(world.interfaceReads).toBe(interfaceReads);
    expect(world.events).toEqual(ENDS);
  });

  test("is not delayed in one part by another that ends slowly", async () => {
    const slow = Promise.withResolvers<void>();
    const network = await startReady(target({ [Symbol.asyncDispose]: () => slow.promise }), 2);
    let hasEnded = false;
    const end = network[Symbol.asyncDispose]().then(() => hasEnded = true);
    await world.clock.advance(100);
    outside(world.kernel.table.get(linkKey("flannel.1")) as Resource);
    await world.clock.advance(60_000);
    expect([hasEnded, world.events]).toEqual([false, ["firewall ended"]]);
    expect(ownEntries(world)).not.toContain("link flannel.1");
    slow.resolve();
    await world.settled(end);
    expect(hasEnded).toBe(true);
  });

  test("has the first error of its parts, after all have ended", async () => {
    const error = new Error("cannot stop charon");
    const network = await startReady(
      target({ [Symbol.asyncDispose]: () => Promise.reject(error) }),
    );
    expect(await world.settled(network[Symbol.asyncDispose]())).toBe(error);
    expect(world.events).toEqual(["firewall ended"]);
  });

  test("keeps a peer whose lease has just been deleted", async () => {
    const network = await startReady(target(), 2);
    world.store.lease({ kind: "delete", key: lease(2, "vxlan", [4]).key });
    await world.clock.advance(100);
    await world.settled(network[Symbol.asyncDispose]());
    await world.clock.advance(60_000);
    expect(world.events).toEqual(ENDS);
    expect(ownEntries(world)).toContain("10.5.2.0/24");
  });

  test("changes nothing for an interface that was being read", async () => {
    const network = await startReady(target());
    const read = Promise.withResolvers<void>();
    world.reading = read.promise;
    world.interfaces = [eth0({ mtuBytes: 1400 })];
    world.gateway = "10.5.2.254";
    world.kernel.overrun();
    await world.clock.advance(2000);
    const end = network[Symbol.asyncDispose]();
    await world.clock.advance(100);
    read.resolve();
    await world.settled(end);
    expect(world.events).toEqual(ENDS);
    expect(world.file).toContain("FLANNEL_MTU=1450\n");
  });

  test("ends the retries of the subnet file and of the public address", async () => {
    world.faults.set("write file", new Error("EROFS"));
    const network = await start();
    world.faults.set("update lease", new StoreError("no connection"));
    world.interfaces = [eth0({ addresses: ["192.168.0.77"] })];
    world.kernel.overrun();
    await world.clock.advance(2000);
    await world.settled(network[Symbol.asyncDispose]());
    world.faults.clear();
    await world.clock.advance(60_000);
    expect([world.file, world.store.published]).toEqual([undefined, []]);
  });
});
