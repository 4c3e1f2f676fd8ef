import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import type { Family } from "../../../src/addr/ip.ts";
import type { Backend } from "../../../src/overlay/backend.ts";
import hostGw from "../../../src/backend/host_gw/host_gw.ts";
import { blackholeRoutes } from "../../../src/overlay/blackhole_routes.ts";
import { OverlayController } from "../../../src/overlay/overlay_controller.ts";
import { ReachabilitySource } from "../../../src/overlay/peer_reachability.ts";
import type { BackendTarget } from "../../../src/overlay/backend_target.ts";
import vxlan from "../../../src/backend/vxlan/vxlan.ts";
import type { SourceRow } from "../../../src/state/entry_source.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Resource, Route } from "../../../src/state/resource.ts";
import type { Lease } from "../../../src/subnet/lease.ts";
import { directRoute } from "../../support/arbitrary_state.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import {
  backendHost,
  config,
  external,
  HOST,
  ip,
  lease,
  mac,
  prefix,
  warningsLog,
} from "../../support/sample_network.ts";
import { stateText } from "../../support/state_text.ts";

class CollectingStore {
  readonly owners = new Map<string, readonly Resource[]>();
  readonly precedences = new Map<string, bigint>();
  readonly sources = new Map<string, SourceRow>();
  calls = 0;

  setDesired(
    owner: string,
    resources: readonly Resource[],
    precedence = 0n,
    source?: SourceRow,
  ): void {
    this.calls++;
    this.owners.set(owner, resources);
    this.precedences.set(owner, precedence);
    if (source === undefined) this.sources.delete(owner);
    else this.sources.set(owner, source);
  }

  removeOwner(owner: string): void {
    this.calls++;
    this.owners.delete(owner);
    this.sources.delete(owner);
  }

  /** Whatever has happened since, an owner's entries are computed again as they were given. */
  assertComputedAgain(): void {
    for (const [owner, { source, row }] of this.sources) {
      expect(source.ownerOf(row)).toBe(owner);
      expect(source.entriesOf(row)).toEqual([...this.owners.get(owner) ?? []]);
      expect(source.precedenceOf(row)).toBe(this.precedences.get(owner) as bigint);
    }
  }

  text(owner: string): string {
    return stateText(this.owners.get(owner) ?? []);
  }
}

const DEFAULT_ROUTE: Route = {
  ...directRoute(1, 3),
  destination: prefix("0.0.0.0/0"),
  gateway: ip("192.168.0.254"),
};

let kernel: FakeKernel;
let store: CollectingStore;
let log: ReturnType<typeof warningsLog>;
let clock: FakeClock;
afterEach(() => store.assertComputedAgain());

/** By `controllerFor`. */
let prepared: { readonly backend: Backend } | undefined;

beforeEach(() => {
  kernel = new FakeKernel();
  kernel.seed(...HOST, DEFAULT_ROUTE);
  kernel.delivery = "now";
  store = new CollectingStore();
  clock = new FakeClock();
  log = warningsLog();
});

async function controllerFor(
  type: "vxlan" | "host-gw",
  options: Record<string, unknown> = {},
  families: readonly Family[] = [4],
  target?: BackendTarget,
) {
  const module = type === "vxlan" ? vxlan : hostGw;
  const backend: Backend = await module.prepare(
    backendHost(kernel, config(type, families, options)),
  );
  prepared = { backend };
  if (target !== undefined) Object.assign(backend, { target });
  const ext = external(families);
  const facts: ReachabilitySource = new ReachabilitySource({
    kernel,
    ownership: () => backend.ownership(ext),
    external: () => ext,
    onChanged: () => controller.reachabilityChanged(),
  });
  const controller = new OverlayController(
    { backend, entryStore: store, reachability: facts, log, clock, extraEntries: blackholeRoutes },
    ext,
  );
  controller.ownChanged(lease(1, type, families));
  return controller;
}

function put(lease: Lease) {
  return { kind: "put" as const, lease };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

/** A node with the public address 172.16.0.n, behind the default gateway. */
function farLease(n: number, type: string): Lease {
  const near = lease(n, type, [4]);
  const publicAddresses = { 4: ip(`172.16.0.${n}`) };
  return { ...near, attributes: { ...near.attributes, publicAddresses } };
}

describe("OverlayController", () => {
  test("makes the node and each lease the owner of their entries", async () => {
    const controller = await controllerFor("vxlan");
    controller.applyChanges([put(lease(2, "vxlan", [4])), put(lease(3, "vxlan", [4]))]);
    expect([...store.owners.keys()]).toEqual(["node", "node-2", "node-3"]);
    expect(store.text("node")).toContain("route blackhole 10.5.1.0/24");
    expect(store.text("node-3")).toContain("route 10.5.3.0/24 via 10.5.3.0 dev flannel.1");
    expect(store.precedences.get("node-3")).toBe(3n);
    expect(controller.status().peers).toBe(2);
  });

  test("does the work of one lease for the change of one lease", async () => {
    const controller = await controllerFor("vxlan");
    controller.applyChanges([2, 3, 4, 5].map((n) => put(lease(n, "vxlan", [4]))));
    store.calls = 0;
    controller.applyChanges([put({ ...lease(3, "vxlan", [4]), changed: 9n })]);
    controller.applyChanges([{ kind: "delete", lease: lease(4, "vxlan", [4]) }]);
    await clock.advance(1000);
    expect(store.calls).toBe(2);
    expect(kernel.lookUps).toBe(0);
    expect(store.owners.has("node-4")).toBe(false);
  });

  test("ignores an invalid lease, logs that once, and uses it when it is valid again", async () => {
    const controller = await controllerFor("vxlan");
    const bad = { ...lease(2, "vxlan", [4]), attributes: lease(2, "host-gw", [4]).attributes };
    controller.applyChanges([put(bad), put({ ...bad, changed: 8n })]);
    expect(log.lines).toEqual([
      "ignoring lease node-2: its backend is host-gw, this node's is vxlan",
    ]);
    expect([...controller.status().ignored.keys()] as string[]).toEqual(["node-2"]);
    expect(store.text("node-2")).toBe("");
    controller.applyChanges([put(lease(2, "vxlan", [4]))]);
    expect(controller.status().ignored.size).toBe(0);
    expect(store.text("node-2")).toContain("route 10.5.2.0/24");
  });

  test("passes only valid peers to the backend's target, and each once", async () => {
    const received: string[] = [];
    const target = {
      put: (peer: Lease) => void received.push(`put ${peer.key} ${peer.changed}`),
      remove: (peer: Lease) => void received.push(`remove ${peer.key} ${peer.changed}`),
    };
    const controller = await controllerFor("vxlan", {}, [4], target as unknown as BackendTarget);
    const good = lease(2, "vxlan", [4]);
    const bad = { ...good, changed: 8n, attributes: lease(2, "host-gw", [4]).attributes };
    controller.applyChanges([put(bad), put(good)]);
    controller.externalChanged({ ...external([4]), mtuBytes: 1400 });
    controller.applyChanges([put({ ...good, changed: 7n }), put(bad), put(good)]);
    controller.applyChanges([{ kind: "delete", lease: good }, { kind: "delete", lease: good }]);
    await clock.advance(1000);
    expect(received).toEqual([
      "put node-2 2",
      "put node-2 7",
      "remove node-2 7",
      "put node-2 2",
      "remove node-2 2",
    ]);
  });

  test("removes the entries of a lease that has become invalid", async () => {
    const controller = await controllerFor("vxlan");
    controller.applyChanges([put(lease(2, "vxlan", [4]))]);
    const bad = { ...lease(2, "vxlan", [4]), attributes: lease(2, "host-gw", [4]).attributes };
    controller.applyChanges([put(bad)]);
    expect(store.text("node-2")).toBe("");
  });

  describe("of two peers with one MAC address", () => {
    const first = lease(2, "vxlan", [4]);
    const second = lease(3, "vxlan", [4], mac(2));
    const text =
      "ignoring lease node-3: its VtepMAC 02:00:00:00:00:02 (flannel.1) belongs to lease node-2, " +
      "whose node 192.168.0.2 claimed it first; if one host is a copy of the other, give the " +
      "copy its own; if it is one host whose address has changed, delete its previous lease";

    test("the later one is ignored, logged once, and used when the other is gone", async () => {
      const received: string[] = [];
      const target = {
        put: (peer: Lease) => void received.push(`put ${peer.key}`),
        remove: (peer: Lease) => void received.push(`remove ${peer.key}`),
      };
      const controller = await controllerFor("vxlan", {}, [4], target as unknown as BackendTarget);
      controller.applyChanges([put(first), put(second), put({ ...second, changed: 8n })]);
      controller.externalChanged({ ...external([4]), mtuBytes: 1400 });
      expect(log.lines).toEqual([text]);
      expect([...controller.status().ignored.keys()] as string[]).toEqual(["node-3"]);
      expect(store.text("node-2")).toContain("fdb 02:00:00:00:00:02");
      expect(store.text("node-3")).toBe("");
      controller.applyChanges([{ kind: "delete", lease: first }]);
      await clock.advance(1000);
      expect(store.text("node-3")).toContain("fdb 02:00:00:00:00:02");
      expect(controller.status()).toEqual({
        peers: 1,
        ignored: new Map(),
        unreachable: new Map(),
      });
      expect(received).toEqual(["put node-2", "remove node-2", "put node-3"]);
    });

    test("the older one has it even if it arrives later, and never do both have it", async () => {
      const controller = await controllerFor("vxlan");
      const holders: number[] = [];
      const setDesired = store.setDesired.bind(store);
      store.setDesired = (...args) => {
        setDesired(...args);
        const owners = ["node-2", "node-3"];
        holders.push(owners.filter((owner) => store.text(owner).includes(`fdb ${mac(2)}`)).length);
      };
      controller.applyChanges([put(second), put(first)]);
      expect(store.text("node-2")).toContain("fdb 02:00:00:00:00:02");
      expect(store.text("node-3")).toBe("");
      controller.applyChanges([put({ ...lease(2, "vxlan", [4], mac(9)), changed: 9n })]);
      expect(store.text("node-3")).toContain("fdb 02:00:00:00:00:02");
      expect(store.text("node-2")).toContain("fdb 02:00:00:00:00:09");
      expect(Math.max(...holders)).toBe(1);
      expect(log.lines).toEqual([text]);
    });

    test("both addresses are reported, and the one that is alive has it", async () => {
      const controller = await controllerFor("vxlan");
      controller.applyChanges([put(first)]);
      expect([...controller.conflictingAddresses]).toEqual([]);
      controller.applyChanges([put(second)]);
      expect([...controller.conflictingAddresses].sort()).toEqual(["192.168.0.2", "192.168.0.3"]);
      store.calls = 0;
      controller.setLiveNodes(new Set(["192.168.0.3"]));
      expect(store.calls).toBe(2); // Once for each of the two.
      expect(store.text("node-3")).toContain("fdb 02:00:00:00:00:02");
      expect(store.text("node-2")).toBe("");
      controller.setLiveNodes(new Set(["192.168.0.2", "192.168.0.3"]));
      expect(store.text("node-2")).toContain("fdb 02:00:00:00:00:02");
      expect(store.text("node-3")).toBe("");
    });

    test("with DirectRouting, both are used as long as they need no tunnel", async () => {
      const controller = await controllerFor("vxlan", { DirectRouting: true });
      controller.applyChanges([put(first), put(second)]);
      await controller.whenReachabilityKnown();
      expect(store.text("node-3")).toContain("via 192.168.0.3 dev eth0");
      kernel.outside({
        op: "set",
        resource: { ...DEFAULT_ROUTE, destination: prefix("192.168.0.0/30") },
      });
      await controller.whenReachabilityKnown();
      expect(store.text("node-2")).toContain("onlink");
      expect(store.text("node-3")).toBe("");
      controller.applyChanges([{ kind: "delete", lease: first }]);
      await clock.advance(1000);
      await controller.whenReachabilityKnown();
      expect(store.text("node-3")).toContain("onlink");
    });
  });

  describe("a peer whose lease is deleted", () => {
    const deleted = (n: number) => ({ kind: "delete" as const, lease: lease(n, "vxlan", [4]) });
    const received: string[] = [];
    const target = {
      put: (peer: Lease) => void received.push(`put ${peer.key}`),
      remove: (peer: Lease) => void received.push(`remove ${peer.key}`),
    } as unknown as BackendTarget;
    let controller: OverlayController;

    beforeEach(async () => {
      received.length = 0;
      controller = await controllerFor("vxlan", {}, [4], target);
      controller.applyChanges([put(lease(2, "vxlan", [4])), put(lease(3, "vxlan", [4]))]);
      received.length = 0;
    });

    test("loses its entries after a second, in the target, too, and is not counted", async () => {
      controller.applyChanges([deleted(2)]);
      expect(controller.status().peers).toBe(1);
      await clock.advance(600);
      controller.applyChanges([deleted(3)]);
      await clock.advance(399);
      expect(store.text("node-2")).toContain("route 10.5.2.0/24");
      expect(received).toEqual([]);
      await clock.advance(1);
      expect(store.owners.has("node-2")).toBe(false);
      expect(store.owners.has("node-3")).toBe(true);
      expect(received).toEqual(["remove node-2"]);
      await clock.advance(600);
      expect(store.owners.has("node-3")).toBe(false);
      expect(received).toEqual(["remove node-2", "remove node-3"]);
      expect(controller.status().peers).toBe(0);
    });

    test("keeps its entries without a gap when the lease is created again", async () => {
      const before = store.text("node-2");
      const withdrawn: string[] = [];
      const removeOwner = store.removeOwner.bind(store);
      store.removeOwner = (owner) => {
        withdrawn.push(owner);
        removeOwner(owner);
      };
      for (let revision = 10n; revision < 20n; revision += 2n) {
        controller.applyChanges([deleted(2)]);
        await clock.advance(500);
        const again = { created: revision, changed: revision };
        controller.applyChanges([put({ ...lease(2, "vxlan", [4]), ...again })]);
        await clock.advance(700);
        expect(store.text("node-2")).toBe(before);
      }
      await clock.advance(5000);
      expect(withdrawn).toEqual([]);
      expect(received.filter((line) => line.startsWith("remove"))).toEqual([]);
      controller.applyChanges([deleted(2)]);
      await clock.advance(1000);
      expect(withdrawn).toEqual(["node-2"]);
    });

    test("loses them at once when its lease still exists and cannot be used", () => {
      controller.applyChanges([{ ...deleted(2), isRejected: true }]);
      expect(store.owners.has("node-2")).toBe(false);
      expect(received).toEqual(["remove node-2"]);
    });

    const other = lease(9, "vxlan", [4]);
    const attributes = lease(2, "vxlan", [4]).attributes;
    const { publicAddresses, backendData } = attributes;
    test.each<[string, Lease]>([
      ["has a part of its subnet", { ...other, subnets: { 4: prefix("10.5.2.128/25") } }],
      [
        "has its public address",
        { ...other, attributes: { ...other.attributes, publicAddresses } },
      ],
      ["has its MAC address", { ...other, attributes: { ...other.attributes, backendData } }],
    ])("loses them at once to one that %s", (_name, replacement) => {
      controller.applyChanges([deleted(2), deleted(3)]);
      const holders: number[] = [];
      const setDesired = store.setDesired.bind(store);
      store.setDesired = (...args) => {
        setDesired(...args);
        holders.push(["node-2", "node-9"].filter((owner) => store.text(owner) !== "").length);
      };
      controller.applyChanges([put(replacement)]);
      expect(store.owners.has("node-2")).toBe(false);
      expect(store.owners.has("node-3")).toBe(true);
      expect(store.text("node-9")).toContain("dev flannel.1");
      expect(Math.max(...holders)).toBe(1);
      expect(received).toEqual(["remove node-2", "put node-9"]);
      expect(log.lines).toEqual([]);
    });

    test("and an older lease with its MAC address arrives, is not reported", () => {
      controller.applyChanges([deleted(3)]);
      controller.applyChanges([put(lease(1, "vxlan", [4], mac(3)))]);
      expect(store.owners.has("node-3")).toBe(false);
      expect(store.text("node-1")).toContain("fdb 02:00:00:00:00:03");
      expect(log.lines).toEqual([]);
    });

    test("keeps its entries when the daemon ends: the next one removes stale ones", async () => {
      controller.applyChanges([deleted(2)]);
      await controller[Symbol.asyncDispose]();
      await clock.advance(5000);
      expect(store.text("node-2")).toContain("route 10.5.2.0/24");
    });

    test("and many others, lose their entries and are replaced at once", async () => {
      const many = Array.from({ length: 5000 }, (_, n) => {
        const subnets = { 4: prefix(`10.5.${n >> 6}.${(n & 63) * 4}/30`) };
        const data = { VNI: 1, VtepMAC: `02:00:00:01:${hex(n >> 8)}:${hex(n & 255)}` };
        const address = { 4: ip(`172.16.${n >> 8}.${n & 255}`) };
        return {
          ...lease(2, "vxlan", [4]),
          key: `many-${n}` as Lease["key"],
          subnets,
          attributes: { backendType: "vxlan", publicAddresses: address, backendData: { 4: data } },
        };
      });
      controller.applyChanges([deleted(2), deleted(3)]);
      await clock.advance(1000);
      controller.applyChanges(many.map(put));
      controller.applyChanges(many.map((one) => ({ kind: "delete", lease: one })));
      controller.applyChanges(
        many.map((one) => put({ ...one, key: `again-${one.key}` as Lease["key"] })),
      );
      expect([...store.owners.keys()].filter((owner) => owner.startsWith("many"))).toEqual([]);
      expect(controller.status().peers).toBe(5000);
    });
  });

  describe("if an error is thrown for one peer", () => {
    const fault = new RangeError("Maximum call stack size exceeded.");
    const text =
      "ignoring lease node-2: this program cannot process it: Maximum call stack size exceeded.";
    const failFor = (key: string, owner: string) => {
      if (key === owner) throw fault;
    };
    const failingPeer = (peer: Backend["peer"]): Backend["peer"] => (lease, ...rest) => {
      failFor("node-2", lease.key);
      return peer(lease, ...rest);
    };

    test("in the backend, ignores the peer, logs that once, and serves the others", async () => {
      const controller = await controllerFor("vxlan");
      const { backend } = prepared as { backend: Backend };
      const peer = backend.peer.bind(backend);
      controller.applyChanges([put(lease(2, "vxlan", [4]))]);
      Object.assign(backend, { peer: failingPeer(peer) });
      controller.applyChanges([2, 3, 2].map((n) => put(lease(n, "vxlan", [4]))));
      controller.externalChanged({ ...external([4]), mtuBytes: 1400 });
      expect(log.lines).toEqual([text]);
      expect(store.text("node-2")).toBe("");
      expect(store.text("node-3")).toContain("route 10.5.3.0/24");
      expect(controller.status()).toMatchObject({ peers: 1 });
      Object.assign(backend, { peer });
      controller.applyChanges([put(lease(2, "vxlan", [4]))]);
      expect(store.text("node-2")).toContain("route 10.5.2.0/24");
      expect(controller.status()).toMatchObject({ peers: 2 });
    });

    test("in the entry store or the target, ignores the peer, too", async () => {
      const received: string[] = [];
      const target = {
        put: ({ key }: Lease) => {
          failFor("node-4", key);
          received.push(`put ${key}`);
        },
        remove: ({ key }: Lease) => void received.push(`remove ${key}`),
      };
      const controller = await controllerFor("vxlan", {}, [4], target as unknown as BackendTarget);
      const setDesired = store.setDesired.bind(store);
      store.setDesired = (owner, ...rest) => {
        failFor("node-2", owner);
        setDesired(owner, ...rest);
      };
      controller.applyChanges([2, 3, 4, 5].map((n) => put(lease(n, "vxlan", [4]))));
      expect(log.lines).toEqual([text, text.replace("node-2", "node-4")]);
      expect([...controller.status().ignored.keys()] as string[]).toEqual(["node-2", "node-4"]);
      expect(store.text("node-4")).toBe("");
      expect(received.slice(0, 2)).toEqual(["put node-3", "remove node-4"]);
      controller.applyChanges([{ kind: "delete", lease: lease(2, "vxlan", [4]) }]);
      expect(controller.status().ignored.size).toBe(1);
    });

    test("in the entry store, gives its MAC address to the peer that waits for it", async () => {
      const controller = await controllerFor("vxlan");
      const waiting = lease(3, "vxlan", [4], mac(2));
      controller.applyChanges([put(lease(2, "vxlan", [4])), put(waiting)]);
      expect(store.text("node-3")).toBe("");
      const setDesired = store.setDesired.bind(store);
      store.setDesired = (owner, ...rest) => {
        failFor("node-2", owner);
        setDesired(owner, ...rest);
      };
      controller.applyChanges([put({ ...lease(2, "vxlan", [4]), changed: 9n })]);
      expect(store.text("node-3")).toContain("fdb 02:00:00:00:00:02");
      expect([...controller.status().ignored.keys()] as string[]).toEqual(["node-2"]);
    });

    test("as its lease goes, does not report a peer that is gone", async () => {
      const controller = await controllerFor("vxlan");
      const two = lease(2, "vxlan", [4]);
      controller.applyChanges([put(two), put(lease(3, "vxlan", [4]))]);
      store.removeOwner = (owner) => failFor("node-2", owner);
      controller.applyChanges([{ kind: "delete", lease: two, isRejected: true }]);
      expect(controller.status()).toMatchObject({ peers: 1, ignored: new Map() });
      expect(log.lines).toEqual([]);
    });

    test("in the entry store twice, logs at debug level that nothing can be undone", async () => {
      const collected = collectingLog();
      log = collected.log as typeof log;
      const controller = await controllerFor("vxlan");
      store.setDesired = (owner) => failFor("node-2", owner);
      store.removeOwner = (owner) => failFor("node-2", owner);
      controller.applyChanges([put(lease(2, "vxlan", [4]))]);
      const [debug] = collected.records.filter(({ level }) => level === "debug");
      expect(debug).toMatchObject({ lease: "node-2", err: { message: fault.message } });
      expect([...controller.status().ignored.keys()] as string[]).toEqual(["node-2"]);
    });

    test("while its reachability is read, does not read it again and again", async () => {
      await using controller = await controllerFor("host-gw", {}, [4]);
      const { backend } = prepared as { backend: Backend };
      Object.assign(backend, { peer: failingPeer(backend.peer.bind(backend)) });
      controller.applyChanges([put(lease(2, "host-gw", [4])), put(lease(3, "host-gw", [4]))]);
      await controller.whenReachabilityKnown();
      const { lookUps } = kernel;
      await clock.advance(10_000);
      expect(kernel.lookUps).toBe(lookUps);
      expect(log.lines).toEqual([text]);
      expect(store.text("node-3")).toContain("route 10.5.3.0/24");
    });
  });

  test("ignores a peer whose public address no host of this node's network has", async () => {
    const controller = await controllerFor("vxlan");
    const at = (n: number, address: string) => {
      const near = lease(n, "vxlan", [4]);
      return { ...near, attributes: { ...near.attributes, publicAddresses: { 4: ip(address) } } };
    };
    const network = (text: string) => ({ ...external([4]), networks: { 4: prefix(text) } });
    controller.applyChanges([put(at(2, "192.168.0.255")), put(at(3, "192.168.0.0"))]);
    expect(log.lines).toEqual([
      "ignoring lease node-2: its public address 192.168.0.255 is the broadcast address of " +
      "192.168.0.0/24",
      "ignoring lease node-3: its public address 192.168.0.0 is the network address of " +
      "192.168.0.0/24",
    ]);
    expect(store.text("node-2") + store.text("node-3")).toBe("");
    controller.externalChanged(network("192.168.0.0/16"));
    expect(store.text("node-2")).toContain("dst 192.168.0.255");
    expect([...controller.status().ignored.keys()] as string[]).toEqual(["node-3"]);
    // Of two addresses both are hosts'.
    controller.externalChanged(network("192.168.0.0/31"));
    expect(controller.status().peers).toBe(2);
  });

  test("counts a departing peer once that is ignored as well", async () => {
    const controller = await controllerFor("vxlan");
    const near = lease(2, "vxlan", [4]);
    const publicAddresses = { 4: ip("192.168.0.63") };
    const two = { ...near, attributes: { ...near.attributes, publicAddresses } };
    controller.applyChanges([put(two), put(lease(3, "vxlan", [4]))]);
    controller.applyChanges([{ kind: "delete", lease: two }]);
    expect(controller.status().peers).toBe(1);
    const networks = { 4: prefix("192.168.0.0/26") };
    controller.externalChanged({ ...external([4]), networks });
    expect([...controller.status().ignored.keys()] as string[]).toEqual(["node-2"]);
    expect(controller.status().peers).toBe(1);
    await clock.advance(1000);
    expect(controller.status()).toMatchObject({ peers: 1, ignored: new Map() });
  });

  test("logs at trace level how many entries it made of each lease", async () => {
    const collected = collectingLog();
    log = collected.log as typeof log;
    const controller = await controllerFor("vxlan");
    controller.applyChanges([put(lease(2, "vxlan", [4])), put(lease(3, "host-gw", [4]))]);
    const lines = collected.records.filter(({ level }) => level === "trace");
    expect(lines.map(({ lease, entries }) => [lease, entries])).toEqual([
      ["node", 3],
      ["node-2", 3],
      ["node-3", 0],
    ]);
    expect(lines[1]?.msg).toBe("lease converted to entries");
  });

  test("of thousands of ignored peers names a few and counts the others", async () => {
    await using controller = await controllerFor("vxlan", {}, [4]);
    controller.applyChanges(
      Array.from({ length: 1000 }, (_, n) => {
        const attributes = {
          ...lease(2, "vxlan", [4]).attributes,
          backendData: { 4: { VNI: n + 2 } },
        };
        return put({ ...lease(2, "vxlan", [4]), key: `node-${n}` as Lease["key"], attributes });
      }),
    );
    await clock.advance(1000);
    expect(log.lines).toHaveLength(6);
    expect(log.lines[5]).toBe(
      "ignoring lease node-999: its VNI is 1001, this node's is 1 (and 994 more like it)",
    );
    expect(controller.status().ignored.size).toBe(1000);
  });

  test("has no entries before this node's own lease is known, and then all", async () => {
    await controllerFor("vxlan");
    const { backend } = prepared as { backend: Backend };
    const { networks: _networks, ...ext } = external([4]);
    const reachability = { reachabilityOf: () => Promise.reject(new Error()), forget: () => {} };
    const entryStore = new CollectingStore();
    const controller = new OverlayController(
      { backend, entryStore, reachability, log, clock },
      ext,
    );
    controller.applyChanges([put(lease(2, "vxlan", [4]))]);
    controller.externalChanged({ ...ext, mtuBytes: 1400 });
    expect([...entryStore.owners.keys()]).toEqual([]);
    controller.ownChanged(lease(1, "vxlan", [4]));
    expect([...entryStore.owners.keys()]).toEqual(["node", "node-2"]);
    expect(entryStore.text("node")).not.toContain("blackhole");
    expect(entryStore.text("node-2")).toContain("fdb");
    expect(log.lines).toEqual([]);
  });

  test("does nothing for the deletion of a lease that it does not have", async () => {
    const controller = await controllerFor("vxlan");
    store.calls = 0;
    const change = { kind: "delete", lease: lease(2, "vxlan", [4]) } as const;
    controller.applyChanges([change, { ...change, isRejected: true }]);
    await clock.advance(1000);
    expect(store.calls).toBe(0);
  });

  test("gives the devices another MTU when the external interface has one", async () => {
    const controller = await controllerFor("vxlan");
    controller.externalChanged({ ...external([4]), mtuBytes: 1400 });
    expect(store.text("node")).toContain("mtu 1350");
  });

  test("with host-gw, reports a peer behind a gateway until the host's routes change", async () => {
    const controller = await controllerFor("host-gw");
    controller.applyChanges([put(farLease(2, "host-gw")), put(lease(3, "host-gw", [4]))]);
    await controller.whenReachabilityKnown();
    expect(store.text("node-2")).toBe("");
    expect(store.text("node-3")).toContain("via 192.168.0.3 dev eth0");
    expect(log.lines).toEqual([expect.stringContaining("via 192.168.0.254 dev eth0")]);
    expect(controller.status().unreachable.size).toBe(1);
    kernel.outside({
      op: "set",
      resource: { kind: "address", link: "eth0", address: ip("172.16.0.1"), prefixLength: 24 },
    });
    await controller.whenReachabilityKnown();
    expect(store.text("node-2")).toBe("route 10.5.2.0/24 via 172.16.0.2 dev eth0 proto 70\n");
    expect(controller.status()).toMatchObject({ unreachable: new Map() });
  });

  test("with DirectRouting, replaces the tunnel by a direct route and back", async () => {
    const controller = await controllerFor("vxlan", { DirectRouting: true });
    controller.applyChanges([put(lease(2, "vxlan", [4]))]);
    await controller.whenReachabilityKnown();
    const direct = store.owners.get("node-2") as Resource[];
    expect(stateText(direct)).toBe("route 10.5.2.0/24 via 192.168.0.2 dev eth0 proto 70\n");
    kernel.outside({
      op: "set",
      resource: { ...DEFAULT_ROUTE, destination: prefix("192.168.0.2/32") },
    });
    await controller.whenReachabilityKnown();
    const tunnel = store.owners.get("node-2") as Resource[];
    expect(stateText(tunnel)).toContain("via 10.5.2.0 dev flannel.1 proto 70 onlink");
    expect(tunnel.map(resourceKey)).toContain(resourceKey(direct[0] as Resource));
  });

  test("forgets a peer that leaves while its reachability is read", async () => {
    const controller = await controllerFor("host-gw");
    controller.applyChanges([put(lease(2, "host-gw", [4]))]);
    controller.applyChanges([{ kind: "delete", lease: lease(2, "host-gw", [4]) }]);
    await clock.advance(1000);
    await controller.whenReachabilityKnown();
    expect(store.owners.has("node-2")).toBe(false);
  });

  test("looks up a route again after a failure, and logs the reason once", async () => {
    const controller = await controllerFor("host-gw", {}, [4]);
    await using _controller = controller;
    const { routeTo } = kernel;
    kernel.routeTo = () => Promise.reject(new Error("cannot look up the way: ENOBUFS"));
    controller.applyChanges([put(lease(2, "host-gw", [4]))]);
    await controller.whenReachabilityKnown();
    await clock.advance(5000);
    expect(log.lines).toEqual(["no route to lease node-2: cannot look up the way: ENOBUFS"]);
    expect(controller.status().unreachable.size).toBe(1);
    kernel.routeTo = routeTo;
    await clock.advance(1000);
    expect(store.text("node-2")).toContain("route 10.5.2.0/24 via 192.168.0.2 dev eth0");
    expect(controller.status().unreachable.size).toBe(0);
  });

  test("reports no failed look-up of a peer that is gone by then", async () => {
    await using controller = await controllerFor("host-gw");
    const answer = Promise.withResolvers<never>();
    kernel.routeTo = () => answer.promise;
    controller.applyChanges([put(lease(2, "host-gw", [4]))]);
    controller.applyChanges([{
      kind: "delete",
      lease: lease(2, "host-gw", [4]),
      isRejected: true,
    }]);
    answer.reject(new Error("ENOBUFS"));
    await controller.whenReachabilityKnown();
    expect(controller.status()).toEqual({ peers: 0, ignored: new Map(), unreachable: new Map() });
    expect(log.lines).toEqual([]);
  });

  test("can be disposed during look-ups, and starts no more", async () => {
    const controller = await controllerFor("host-gw");
    const asked: string[] = [];
    const answered = Promise.withResolvers<void>();
    const { routeTo } = kernel;
    kernel.routeTo = async (to) => {
      asked.push(to);
      await answered.promise;
      return await routeTo.call(kernel, to);
    };
    controller.applyChanges([2, 3, 4].map((n) => put(lease(n, "host-gw", [4]))));
    await Promise.resolve();
    const ended = controller[Symbol.asyncDispose]();
    answered.resolve();
    await ended;
    await clock.advance(5000);
    expect(asked).toEqual(["192.168.0.2"]);
  });

  test("looks up no route if the backend does not need it", async () => {
    const controller = await controllerFor("vxlan");
    controller.applyChanges([put(lease(2, "vxlan", [4]))]);
    controller.reachabilityChanged();
    await controller.whenReachabilityKnown();
    expect(kernel.lookUps).toBe(0);
  });

  test("gives a backend that does not need it an empty reachability", async () => {
    const controller = await controllerFor("vxlan");
    const { backend } = prepared as { backend: Backend };
    const peer = spyOn(backend, "peer");
    controller.applyChanges([put(lease(2, "vxlan", [4]))]);
    expect(peer.mock.calls.map(([, , reachability]) => reachability)).toEqual([
      { direct: {}, path: {} },
    ]);
  });

  test("looks up the route again when a peer's lease changes", async () => {
    const controller = await controllerFor("host-gw");
    controller.applyChanges([put(lease(2, "host-gw", [4]))]);
    await controller.whenReachabilityKnown();
    expect(kernel.lookUps).toBe(1);
    controller.applyChanges([put({ ...lease(2, "host-gw", [4]), changed: 9n })]);
    await controller.whenReachabilityKnown();
    expect(kernel.lookUps).toBe(2);
  });

  test("keeps a peer's entries while its reachability is read again", async () => {
    const controller = await controllerFor("host-gw");
    controller.applyChanges([put(lease(2, "host-gw", [4]))]);
    await controller.whenReachabilityKnown();
    for (
      const change of [
        () => controller.reachabilityChanged(),
        () => controller.externalChanged(external([4])),
        () => controller.ownChanged(lease(1, "host-gw", [4])),
      ]
    ) {
      change();
      expect(store.text("node-2")).toContain("via 192.168.0.2");
      await controller.whenReachabilityKnown();
    }
  });
});
