import type { IpAddress } from "../../../src/addr/ip.ts";
import { beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { runDaemon } from "../../../src/daemon/daemon.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { ConfigError } from "../../../src/config/config_error.ts";
import { NetworkError } from "../../../src/daemon/network_error.ts";
import { FirewallError } from "../../../src/firewall/firewall.ts";
import { HealthServerError } from "../../../src/health/health_server.ts";
import { InterfaceSelectionError } from "../../../src/host/interface_selection.ts";
import { KernelError } from "../../../src/kernel/kernel.ts";
import { BackendError } from "../../../src/overlay/backend_error.ts";
import {
  DuplicateNodeError,
  OutOfSubnetsError,
} from "../../../src/subnet/etcd/allocation_errors.ts";
import { StoreError } from "../../../src/subnet/lease_store.ts";
import { SubnetFileError } from "../../../src/subnet/subnet_file.ts";
import {
  CONFIG,
  daemonOptions,
  eth0,
  FakeDaemonWorld,
  type Fault,
  ownEntries,
} from "../../support/fake_daemon.ts";
import { ip, lease, prefix } from "../../support/sample_network.ts";

const FLAGS = ["--healthz-port=8080"];
/** The end of everything that a daemon without a lease has started, in order. */
const END_BEFORE_LEASE = [
  "closed the store",
  "closed the kernel",
  "health server ended",
  "watchdog ended",
];

let world: FakeDaemonWorld;
let stop: AbortController;

// A module that is loaded takes real time, which the fake clock does not wait for.
beforeAll(async () => {
  for (const type of ["vxlan", "wireguard"]) await BACKENDS.find(type)?.load();
});

beforeEach(() => {
  world = new FakeDaemonWorld();
  stop = new AbortController();
});

function run(...flags: string[]): Promise<number> {
  const { ports, log: { log } } = world;
  return runDaemon({ options: daemonOptions([...FLAGS, ...flags]), ports, log, stop: stop.signal });
}

/** A daemon that is ready, with peers of these numbers. */
async function runReady(...nodes: number[]): Promise<{ readonly status: Promise<number> }> {
  const running = run();
  await world.clock.advance(1000);
  world.store.snapshot(...nodes.map((n) => lease(n, "vxlan", [4])));
  await world.clock.advance(1000);
  expect(world.notified.at(-1)).toStartWith("READY ");
  world.events.length = 0;
  return { status: running };
}

const readyz = () => world.readyz?.();

describe("the start of the daemon", () => {
  test("is configuration, interface, backend, lease, network, the peers' leases", async () => {
    const running = run();
    await world.clock.advance(1000);
    expect(world.events.map((event) => event.replace(/: mtu.*/, ""))).toEqual([
      "opened the kernel",
      "acquired the lease",
      "opened nftables",
      "set the rules",
      "set link flannel.1",
      "set addr 10.5.1.0/32 dev flannel.1",
      "the rules are installed",
      "wrote /fake/subnet.env",
    ]);
    expect(readyz()).toEqual(["waiting for the other nodes' leases from etcd"]);
    world.store.snapshot(lease(2, "vxlan", [4]));
    await world.clock.advance(1000);
    expect(world.events.at(-1)).toBe("the store knows that the network is ready");
    expect(readyz()).toEqual([]);
    expect(world.notified).toEqual([
      "reading the network configuration at /test/config in etcd",
      "choosing the external interface",
      "looking for this node's lease in etcd",
      "preparing the vxlan backend",
      "acquiring a subnet in etcd",
      "installing the firewall rules and this node's own kernel entries",
      "waiting for the other nodes' leases from etcd",
      "installing the kernel entries for 1 peer",
      "writing the subnet file /fake/subnet.env",
      "READY vxlan: subnet 10.5.1.0/24, 1 peer",
    ]);
    expect(world.logged().slice(1)).toEqual([
      "info using interface eth0 (default route), MTU 1500",
      "info IPv4 address 192.168.0.1, advertised to the other nodes",
      "info ready; vxlan: subnet 10.5.1.0/24, 1 peer",
    ]);
    expect(world.logged()[0]).toMatch(/^info starting flanneld \S+: .*--healthz-port=8080/);
    stop.abort(new Error("stopped by SIGTERM"));
    expect(await world.settled(running)).toBe(0);
  });

  test("requests the subnet of the subnet file, and none with an excluded address", async () => {
    world.previousFile = {
      networks: { 4: prefix("10.5.0.0/16") },
      subnets: { 4: prefix("10.5.7.0/24") },
    };
    world.gateway = "10.5.9.254";
    const running = run();
    await world.clock.advance(1000);
    expect(world.store.requests).toEqual([
      expect.objectContaining({
        previousSubnets: { 4: prefix("10.5.7.0/24") },
        excluded: [{ address: ip("10.5.9.254"), what: "the gateway of this host" }],
      }),
    ]);
    expect(world.logged().filter((line) => line.startsWith("warn"))).toEqual([
      expect.stringContaining("covers 10.5.9.254, the gateway of this host"),
    ]);
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(running);
  });

  test("advertises the address that the store prescribes, not the one of the flag", async () => {
    const source = "the annotation flannel.alpha.coreos.com/node-public-ip";
    world.store.prescribed = { 4: { address: ip("203.0.113.5"), source } };
    const running = run("--public-ip=198.51.100.7");
    await world.clock.advance(1000);
    expect(world.store.requests.map(({ attributes }) => attributes.publicAddresses)).toEqual([
      { 4: ip("203.0.113.5") },
    ]);
    expect(world.logged()).toContain(
      "info IPv4 address 192.168.0.1, advertised to the other nodes as 203.0.113.5 " +
        `(${source}; this host does not have it: a router must translate it to this host)`,
    );
    world.interfaces = [eth0({ addresses: ["192.168.0.77"] })];
    world.kernel.overrun();
    await world.clock.advance(2000);
    expect(world.store.published).toEqual([]);
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(running);
  });

  test("takes subnets of any length where Kubernetes chooses them", async () => {
    world.store.allocation = "kubernetes";
    world.store.config = CONFIG.replace("{", '{"SubnetLen": 8, ');
    const running = run();
    await world.clock.advance(1000);
    const long = { ...lease(2, "vxlan", [4]), subnets: { 4: prefix("10.5.2.0/26") } };
    world.store.snapshot(long);
    await world.clock.advance(1000);
    expect(world.notified.at(-1)).toBe("READY vxlan: subnet 10.5.1.0/24, 1 peer");
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(running);
  });

  test("claims the device of a backend that shares none, before the lease", async () => {
    world.store.config = CONFIG.replace("vxlan", "wireguard");
    world.faults.set("previous lease", new StoreError("no connection"));
    await world.settled(run());
    expect(world.notified).toContain("claiming the device flannel-wg");
    expect(world.events.filter((event) => event.includes("flannel-wg"))).toEqual([
      "claimed flannel-wg",
      "released flannel-wg",
    ]);
  });

  test("warns once if the host does not forward packets", async () => {
    world.sysctls = { "net/ipv4/ip_forward": "0" };
    const { status } = await runReady();
    expect(world.logged().filter((line) => line.startsWith("warn"))).toEqual([
      "warn this host does not forward IPv4 packets, so none will reach a workload; run " +
      '"sysctl -w net.ipv4.ip_forward=1"',
    ]);
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(status);
  });
});

describe("the wait for the network configuration", () => {
  test("lasts until there is a valid one, and shows why", async () => {
    world.faults.set("network config", new StoreError("cannot reach etcd: connection refused"));
    const running = run();
    await world.clock.advance(100);
    expect(readyz()?.[0]).toBe(
      "waiting for the network configuration: cannot reach etcd: connection refused",
    );
    world.faults.clear();
    world.store.config = undefined;
    await world.clock.advance(3000);
    expect(readyz()?.[0]).toBe("waiting for a network configuration at /test/config in etcd");
    world.store.config = "{}";
    await world.clock.advance(3000);
    expect(readyz()?.[0]).toStartWith("waiting for a valid network configuration: ");
    expect(world.events).toEqual(["opened the kernel"]);
    world.store.config = CONFIG;
    await world.clock.advance(3000);
    expect(world.events).toContain("wrote /fake/subnet.env");
    const lines = world.logged().filter((line) => !/interface|address|starting/.test(line));
    expect(lines.map((line) => line.replace(/\d+ ms|\d+ s/, "TIME"))).toEqual([
      "warn reading the network configuration failed: cannot reach etcd: connection refused",
      expect.stringMatching(/^info reading the network configuration works again after 1 failure/),
      "info waiting for a network configuration at /test/config in etcd",
      expect.stringMatching(/^error .*; waiting for a valid network configuration$/),
    ]);
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(running);
  });

  test("ends with 0 at a signal", async () => {
    world.store.config = undefined;
    const running = run();
    await world.clock.advance(5000);
    stop.abort(new Error("stopped by SIGTERM"));
    expect(await world.settled(running)).toBe(0);
    expect(world.events).toEqual(["opened the kernel", ...END_BEFORE_LEASE]);
    expect(world.notified.at(-1)).toBe("STOPPING");
  });

  test("ends with an error that is not about the store or the text", async () => {
    const bug = new TypeError("undefined is not an object");
    world.faults.set("network config", bug);
    expect(await world.settled(run())).toBe(bug);
  });
});

describe("a start that fails", () => {
  const failures: [Fault, Error, string[]][] = [
    ["privilege", new NetworkError("missing CAP_NET_ADMIN"), []],
    ["subnet file check", new SubnetFileError("cannot write the subnet file: a directory"), []],
    ["health server", new HealthServerError("cannot serve /healthz"), ["watchdog ended"]],
    [
      "open kernel",
      new KernelError({ operation: "open a netlink socket", errno: "EMFILE" }),
      ["health server ended", "watchdog ended"],
    ],
    [
      "open store",
      new ConfigError("--kube-subnet-mgr is not supported"),
      END_BEFORE_LEASE.slice(1),
    ],
    [
      "previous lease",
      new DuplicateNodeError("192.168.0.1 belongs to node b", {
        publicAddress: "192.168.0.1" as IpAddress,
        holder: { hostname: "b", interface: "eth0" },
      }),
      END_BEFORE_LEASE,
    ],
    [
      "interfaces",
      new KernelError({ operation: "read the links", errno: "ENOMEM" }),
      END_BEFORE_LEASE,
    ],
    ["acquire", new OutOfSubnetsError("no free subnet", { leases: 0 }), END_BEFORE_LEASE],
    [
      "open firewall",
      new FirewallError("cannot open nftables"),
      ["released the lease", ...END_BEFORE_LEASE],
    ],
  ];
  test.each(failures)(
    "at %s throws the error and ends what was started",
    async (fault, error, end) => {
      world.faults.set(fault, error);
      expect(await world.settled(run())).toBe(error);
      expect(world.events.slice(world.events.length - end.length)).toEqual(end);
      expect(world.events.filter((event) => / ended$|^closed|^released/.test(event))).toEqual(end);
      expect(world.file).toBeUndefined();
    },
  );

  test.each(failures.filter(([fault]) => fault !== "open firewall"))(
    "at %s changes nothing in the kernel",
    async (fault, error) => {
      const before = world.kernel.text();
      world.faults.set(fault, error);
      await world.settled(run());
      expect(world.kernel.text()).toBe(before);
      expect(world.events.some((event) => event.startsWith("set "))).toBe(false);
    },
  );

  test("because another daemon has the device, takes no subnet", async () => {
    const error = new BackendError("another flanneld on this host uses the device flannel-wg");
    world.store.config = CONFIG.replace("vxlan", "wireguard");
    world.faults.set("claim", error);
    expect(await world.settled(run())).toBe(error);
    expect(world.store.requests).toEqual([]);
  });

  test("because br_netfilter is missing, in iptables mode only", async () => {
    world.faults.set("br_netfilter", new Error("run modprobe br_netfilter"));
    world.store.config = CONFIG.replace('"EnableNFTables": true, ', "");
    const error = await world.settled(run());
    expect(error).toEqual(new FirewallError("run modprobe br_netfilter"));
    world = new FakeDaemonWorld();
    world.faults.set("br_netfilter", new Error("run modprobe br_netfilter"));
    const { status } = await runReady();
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(status);
  });

  test("because the configuration names an unknown backend", async () => {
    world.store.config = CONFIG.replace("vxlan", "vxlam");
    const error = await world.settled(run());
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toContain("vxlam");
  });

  test("because no interface qualifies, or none whose address other nodes can reach", async () => {
    const unknown = await world.settled(run("--iface=eth7"));
    expect(unknown).toBeInstanceOf(InterfaceSelectionError);
    expect((unknown as Error).message).toContain("--iface=eth7: no such interface");
    world = new FakeDaemonWorld();
    const reserved = await world.settled(run("--public-ip=192.168.0.255"));
    expect(reserved).toBeInstanceOf(InterfaceSelectionError);
    expect((reserved as Error).message).toContain("is the broadcast address of 192.168.0.0/24");
    expect(world.store.requests).toEqual([]);
  });

  test("because the named interface is a device of the overlay", async () => {
    const device = { ...eth0({ addresses: ["10.5.7.0"] }), name: "flannel.1", ifindex: 9 };
    world.interfaces = [eth0(), device];
    const error = await world.settled(run("--iface=flannel.1"));
    expect(error).toBeInstanceOf(InterfaceSelectionError);
    expect((error as Error).message).toStartWith("flannel.1 is a device of the overlay itself");
  });

  test("because the network contains the interface's own network", async () => {
    world.interfaces = [eth0({ addresses: ["10.5.200.1"] })];
    const error = await world.settled(run());
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toStartWith("Network 10.5.0.0/16 covers 10.5.200.0/24");
  });

  test("is 0 if it was stopped meanwhile", async () => {
    world.firewall.installing = new Promise(() => {});
    const running = run();
    await world.clock.advance(1000);
    expect(readyz()?.[0]).toBe("installing the firewall rules and this node's own kernel entries");
    stop.abort(new Error("stopped by SIGTERM"));
    expect(await world.settled(running)).toBe(0);
    expect(world.events.slice(-6)).toEqual([
      "firewall ended",
      "released the lease",
      ...END_BEFORE_LEASE,
    ]);
  });
});

describe("a running daemon", () => {
  test("ends in order at a signal, with 0, and leaves the kernel's entries", async () => {
    const { status } = await runReady(2);
    const entries = ownEntries(world);
    expect(entries).toContain("route 10.5.2.0/24");
    stop.abort(new Error("stopped by SIGTERM"));
    expect(await world.settled(status)).toBe(0);
    expect(world.events).toEqual([
      "lease watch ended",
      "firewall ended",
      "released the lease",
      ...END_BEFORE_LEASE,
    ]);
    expect(ownEntries(world)).toBe(entries);
    expect(world.notified.at(-1)).toBe("STOPPING");
  });

  test("ends with 1 when its subnet is lost", async () => {
    const { status } = await runReady();
    world.store.lose("node b took 10.5.1.0/24");
    expect(await world.settled(status)).toBe(1);
    expect(world.logged().at(-1)).toBe(
      "error this node has lost its subnet: node b took 10.5.1.0/24",
    );
    expect(world.events).toEqual([
      "lease watch ended",
      "firewall ended",
      "released the lease",
      ...END_BEFORE_LEASE,
    ]);
  });

  test.each(["watch leases", "watch config"] as const)(
    "ends with the error of the task %s",
    async (fault) => {
      const error = new StoreError(`cannot ${fault}`);
      world.faults.set(fault, error);
      expect(await world.settled(run())).toBe(error);
      expect(world.events.slice(-4)).toEqual(END_BEFORE_LEASE);
    },
  );

  test("keeps its configuration, and reports each change", async () => {
    const { status } = await runReady();
    for (const text of [undefined, CONFIG.replace("10.5", "10.6"), "{"]) {
      world.store.changeConfig(text);
      await world.clock.advance(100);
    }
    expect(world.logged().slice(-3)).toEqual([
      "warn the network configuration at /test/config in etcd was deleted; keeping the current " +
      "configuration",
      "warn the network configuration changed; restart flanneld to apply it",
      expect.stringMatching(
        /^warn the network configuration changed and is invalid, keeping the current .*: /,
      ),
    ]);
    expect(readyz()).toEqual([]);
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(status);
  });

  test("shows a firewall problem in /readyz and in systemd's status", async () => {
    const { status } = await runReady();
    world.firewall.state = { isInSync: false, problem: "cannot restore table nat: EPERM" };
    expect(readyz()).toEqual(["firewall rules: cannot restore table nat: EPERM"]);
    await world.clock.advance(1000);
    expect(world.notified.at(-1)).toBe(
      "vxlan: subnet 10.5.1.0/24, 0 peers; firewall rules: cannot restore table nat: EPERM",
    );
    world.firewall.state = { isInSync: true };
    await world.clock.advance(1000);
    expect(world.notified.at(-1)).toBe("vxlan: subnet 10.5.1.0/24, 0 peers");
    stop.abort(new Error("stopped by SIGTERM"));
    await world.settled(status);
  });
});
