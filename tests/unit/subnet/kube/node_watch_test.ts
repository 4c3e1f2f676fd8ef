/** The leases of the other nodes, over an API server in memory. */

import { beforeEach, describe, expect, test } from "bun:test";
import type { LeaseKey } from "../../../../src/subnet/lease.ts";
import { settle } from "../../../support/fake_clock.ts";
import { FakeKube, kubeError } from "../../../support/fake_kube.ts";
import {
  annotationsOf,
  config,
  createPeer,
  kubeStore,
  LeaseFollow,
  macOf,
  NAMES,
  type TestStore,
} from "../../../support/kube_store.ts";

let kube: FakeKube;

beforeEach(() => {
  kube = new FakeKube();
  kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
});

async function followed(node: TestStore): Promise<LeaseFollow> {
  await node.acquire();
  const follow = new LeaseFollow(node.store);
  await settle();
  kube.calls.length = 0;
  return follow;
}

const macIn = (follow: LeaseFollow, name: string) =>
  (follow.leases.get(`node/${name}` as LeaseKey)?.attributes.backendData[4] as {
    readonly VtepMAC: string;
  })?.VtepMAC;

describe("the leases of a cluster", () => {
  test("are its managed nodes, this one among them, with their pod CIDRs", async () => {
    createPeer(kube, 2);
    kube.create("plain", { podCidrs: ["10.244.9.0/24"] });
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    expect(follow.events).toEqual(["snapshot 2"]);
    expect(follow.subnets).toEqual(["node/n1 10.244.1.0/24", "node/n2 10.244.2.0/24"]);
  });

  test("of 6 000 nodes are all there", async () => {
    for (let n = 2; n <= 6000; n++) {
      const podCidrs = [`10.${n >> 8}.${n & 255}.0/24`];
      kube.create(`n${n}`, { podCidrs, annotations: annotationsOf(n) });
    }
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    expect(follow.leases.size).toBe(6000);
  });

  test("follow a node that joins: its pod CIDR is read once", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.create("n2");
    kube.assign("n2", "10.244.2.0/24");
    await settle();
    expect(kube.calls).toEqual([]);
    kube.annotate("n2", annotationsOf(2));
    await settle();
    kube.annotate("n2", annotationsOf(2, macOf(7)));
    await settle();
    expect(follow.events).toEqual(["snapshot 1", "put node/n2", "put node/n2"]);
    expect(macIn(follow, "n2")).toBe(macOf(7));
    expect(kube.calls).toEqual(["GET n2"]);
  });

  test("do not change by heartbeats", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    for (let i = 0; i < 100; i++) kube.heartbeat(`n${1 + i % 2}`);
    await settle();
    expect(follow.events).toEqual(["snapshot 2"]);
    expect(kube.calls).toEqual([]);
  });

  test.each([
    ["the annotation is not true any more", { [NAMES.managed]: "false" }],
    ["the annotation is spelled otherwise", { [NAMES.managed]: "True" }],
    ["the annotation is removed", { [NAMES.managed]: null }],
  ])("end when %s", async (_, change) => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.annotate("n2", change);
    await settle();
    expect(follow.events.at(-1)).toBe("delete node/n2");
    kube.annotate("n2", { [NAMES.managed]: "true" });
    await settle();
    expect(follow.subnets).toContain("node/n2 10.244.2.0/24");
    expect(kube.calls).toEqual([]);
  });

  test("end with the node; one of the same name is another lease", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    const created = follow.leases.get("node/n2" as LeaseKey)?.created as bigint;
    kube.delete("n2");
    await settle();
    expect(follow.events.at(-1)).toBe("delete node/n2");
    await kube.clock.advance(5000);
    kube.create("n2", { podCidrs: ["10.244.7.0/24"], annotations: annotationsOf(2) });
    await settle();
    expect(follow.subnets).toContain("node/n2 10.244.7.0/24");
    expect(follow.leases.get("node/n2" as LeaseKey)?.created).toBeGreaterThan(created);
  });

  test("that cannot be read are reported, and used once they can", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.annotate("n2", { [NAMES.publicAddress[4]]: "nowhere" });
    await settle();
    expect([...follow.invalid.values()])
      .toEqual([`its annotation ${NAMES.publicAddress[4]} is "nowhere", not an IPv4 address`]);
    kube.annotate("n2", { [NAMES.publicAddress[4]]: "192.0.2.77" });
    await settle();
    expect(follow.invalid.size).toBe(0);
    expect(follow.subnets).toHaveLength(2);
  });

  test("wait for the pod CIDR of a node that has none", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.create("n2", { annotations: annotationsOf(2) });
    await settle();
    expect([...follow.invalid.values()])
      .toEqual(["it has no IPv4 pod CIDR: its spec.podCIDRs is empty"]);
    await kube.clock.advance(60_000);
    kube.calls.length = 0;
    kube.assign("n2", "10.244.2.0/24");
    // It may have been read a moment ago, and is not read twice within half a second.
    await kube.clock.advance(500);
    expect(follow.subnets).toContain("node/n2 10.244.2.0/24");
    expect(kube.calls).toEqual(["GET n2"]);
    kube.calls.length = 0;
    await kube.clock.advance(120_000);
    expect(kube.calls).toEqual([]);
  });

  test("are read again while the API server fails, and the failure is logged once", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.fail("node", "server");
    createPeer(kube, 2);
    await kube.clock.advance(20_000);
    expect(follow.leases.size).toBe(1);
    kube.works("node");
    await kube.clock.advance(31_000);
    expect(follow.leases.size).toBe(2);
    expect(node.messages().filter((line) => line.includes("pod CIDRs of a node failed")))
      .toEqual(["warn reading the pod CIDRs of a node failed: node is server"]);
  });
});

describe("a watch", () => {
  test("that is cut continues where it was, and loses nothing", async () => {
    createPeer(kube, 2);
    createPeer(kube, 3);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.cutWatches();
    kube.annotate("n2", annotationsOf(2, macOf(9)));
    kube.delete("n3");
    await kube.clock.advance(6000);
    expect(macIn(follow, "n2")).toBe(macOf(9));
    expect(follow.events.toSorted())
      .toEqual(["delete node/n3", "put node/n2", "snapshot 3"]);
    expect(kube.calls).toEqual(["WATCH"]);
  });

  test("that the server closes is opened again, once a second at most", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    await kube.clock.advance(300_000);
    kube.closeWatches();
    createPeer(kube, 2);
    await settle();
    expect(kube.calls.filter((call) => call === "WATCH")).toHaveLength(1);
    expect(follow.events).toEqual(["snapshot 1", "put node/n2"]);
    kube.closeWatches();
    await kube.clock.advance(999);
    expect(kube.calls.filter((call) => call === "WATCH")).toHaveLength(1);
    await kube.clock.advance(1);
    expect(kube.calls.filter((call) => call === "WATCH")).toHaveLength(2);
    expect(node.messages()).toEqual([]);
  });

  test("that the server always ends at once is replaced by lists, and is logged", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.endsWatches = true;
    kube.closeWatches();
    kube.annotate("n2", annotationsOf(2, macOf(9)));
    await kube.clock.advance(60_000);
    expect(macIn(follow, "n2")).toBe(macOf(9));
    const lists = kube.calls.filter((call) => call !== "WATCH");
    expect(new Set(lists)).toEqual(new Set(["LIST metadata"]));
    expect(lists.length).toBeLessThan(6);
    kube.endsWatches = false;
    await kube.clock.advance(10_000);
    expect(node.messages()).toEqual([
      expect.stringContaining("failed: the server ends each watch at once, without a change"),
      expect.stringMatching(/^info following the nodes of the cluster works again after/),
    ]);
  });

  test("that the server ends at once for a moment is opened again", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.endsWatches = true;
    kube.closeWatches();
    await kube.clock.advance(2000);
    kube.endsWatches = false;
    createPeer(kube, 2);
    await kube.clock.advance(2000);
    expect(follow.leases.size).toBe(2);
    expect(kube.calls.filter((call) => call.startsWith("LIST"))).toEqual([]);
    expect(node.messages()).toEqual([]);
  });

  test("continues from the last bookmark after the changes before it were forgotten", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.bookmark();
    await settle();
    kube.compact();
    kube.cutWatches();
    await kube.clock.advance(6000);
    createPeer(kube, 3);
    await settle();
    expect(follow.events).toEqual(["snapshot 2", "put node/n3"]);
    expect(kube.calls).toEqual(["WATCH", "GET n3"]);
  });

  test("of forgotten changes leads to a list of metadata, whose differences count", async () => {
    for (const n of [2, 3, 4]) createPeer(kube, n);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.fail("watchNodes", "unreachable");
    await settle();
    kube.delete("n2");
    kube.annotate("n3", annotationsOf(3, macOf(9)));
    createPeer(kube, 5);
    kube.delete("n4");
    kube.create("n4", { podCidrs: ["10.244.44.0/24"], annotations: annotationsOf(4) });
    kube.heartbeat("n1");
    kube.compact();
    kube.works("watchNodes");
    kube.calls.length = 0;
    await kube.clock.advance(10_000);
    expect(follow.subnets).toEqual([
      "node/n1 10.244.1.0/24",
      "node/n3 10.244.3.0/24",
      "node/n4 10.244.44.0/24",
      "node/n5 10.244.5.0/24",
    ]);
    expect(macIn(follow, "n3")).toBe(macOf(9));
    expect(follow.events.at(-1)).toBe("snapshot 4");
    expect(kube.calls.filter((call) => call !== "WATCH").toSorted())
      .toEqual(["GET n4", "GET n5", "LIST metadata"]);
  });

  test("after which many nodes are new leads to a list of whole nodes", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.fail("watchNodes", "unreachable");
    for (let n = 2; n <= 200; n++) createPeer(kube, n);
    kube.compact();
    kube.works("watchNodes");
    await kube.clock.advance(10_000);
    expect(follow.leases.size).toBe(200);
    expect(kube.calls.filter((call) => call !== "WATCH")).toEqual(["LIST metadata", "LIST"]);
  });

  test("is never followed by a list that is older than another one", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.freezeCache();
    kube.fail("watchNodes", "unreachable");
    for (let n = 2; n <= 200; n++) createPeer(kube, n);
    kube.compact();
    kube.works("watchNodes");
    await kube.clock.advance(4000);
    kube.fail("watchNodes", "unreachable");
    expect(kube.calls).toContain("LIST");
    expect(follow.leases.size).toBe(200);
  });

  test("from a revision that a restored server does not have leads to a list", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.failNext(
      "watchNodes",
      ...Array.from(
        { length: 4 },
        () => kubeError("server", "Timeout: Too large resource version: 900, current: 100"),
      ),
    );
    kube.cutWatches();
    await kube.clock.advance(30_000);
    expect(follow.events).toEqual(["snapshot 2", "snapshot 2"]);
    expect(kube.calls).toContain("LIST metadata");
  });

  test("that is forbidden is opened again, without lists, until it is permitted", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.fail("watchNodes", "forbidden");
    await kube.clock.advance(600_000);
    expect(kube.calls.filter((call) => call !== "WATCH")).toEqual([]);
    expect(kube.calls.length).toBeLessThan(260);
    expect(node.messages().filter((line) => line.includes("is forbidden")).length)
      .toBeLessThan(6);
    kube.annotate("n2", annotationsOf(2, macOf(9)));
    kube.works("watchNodes");
    await kube.clock.advance(10_000);
    expect(macIn(follow, "n2")).toBe(macOf(9));
  });

  test("that is forbidden while the server starts is not logged", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.bookmark();
    await settle();
    kube.fail("watchNodes", "forbidden");
    await kube.clock.advance(9000);
    kube.works("watchNodes");
    createPeer(kube, 2);
    await kube.clock.advance(5000);
    expect(follow.leases.size).toBe(2);
    expect(node.messages()).toEqual([
      "warn following the nodes of the cluster failed: connection cut",
      expect.stringContaining("works again after 1 failure"),
    ]);
    kube.fail("watchNodes", "forbidden");
    await kube.clock.advance(20_000);
    expect(node.messages().at(-1)).toContain("watchNodes is forbidden");
  });

  test("whose every revision is too old backs off, and is logged", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.bookmark();
    await settle();
    kube.fail("watchNodes", "expired");
    await kube.clock.advance(60_000);
    expect(follow.leases.size).toBe(2);
    expect(kube.calls.length).toBeLessThan(50);
    expect(node.messages()).toEqual([
      "warn following the nodes of the cluster failed: connection cut",
      "warn following the nodes of the cluster failed: watchNodes is expired",
    ]);
  });

  test("that is open again after an outage is reported, before anything changes", async () => {
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.fail("watchNodes", "unreachable");
    await kube.clock.advance(30_000);
    kube.works("watchNodes");
    await kube.clock.advance(3000);
    expect(node.messages()).toEqual([
      "warn following the nodes of the cluster failed: connection cut",
      "warn following the nodes of the cluster failed: watchNodes is unreachable",
      expect.stringMatching(/^info following the nodes of the cluster works again after/),
    ]);
    expect(follow.events).toEqual(["snapshot 1"]);
  });

  test("that is not permitted makes the node not ready until it is", async () => {
    kube.fail("watchNodes", "forbidden");
    await using node = kubeStore(kube);
    const own = await node.acquire();
    await using follow = new LeaseFollow(node.store);
    await kube.clock.advance(1000);
    expect(follow.events).toEqual(["snapshot 1"]);
    expect(own.problem).toBe("following the nodes of the cluster: watchNodes is forbidden");
    kube.works("watchNodes");
    await kube.clock.advance(8000);
    expect(own.problem).toBe(undefined);
  });

  test("that is cut fifty times while 5 000 nodes change loses no event", async () => {
    for (let n = 2; n <= 5000; n++) {
      const podCidrs = [`10.${n >> 8}.${n & 255}.0/24`];
      kube.create(`n${n}`, { podCidrs, annotations: annotationsOf(n) });
    }
    await using node = kubeStore(kube);
    await using follow = await followed(node);
    kube.cutAfter = 100;
    for (let n = 2; n <= 5000; n++) {
      if (n % 10 === 3) kube.delete(`n${n}`);
      else kube.annotate(`n${n}`, annotationsOf(n, macOf(n + 100_000)));
      if (n % 10 === 4) {
        kube.create(`new${n}`, { podCidrs: [`10.99.${n & 255}.0/24`] });
        kube.annotate(`new${n}`, annotationsOf(n));
      }
    }
    await kube.clock.advance(600_000);
    const cuts = kube.calls.filter((call) => call === "WATCH").length;
    expect(cuts).toBeGreaterThanOrEqual(50);
    expect(kube.calls.filter((call) => call.startsWith("LIST"))).toEqual([]);
    expect(follow.events.filter((event) => event.startsWith("snapshot"))).toHaveLength(1);
    expect(follow.leases.size).toBe(5000);
    for (let n = 2; n <= 5000; n++) {
      const expected = n % 10 === 3 ? undefined : macOf(n + 100_000);
      expect(macIn(follow, `n${n}`)).toBe(expected as string);
    }
  });

  test("does not wait for a slow reader, for whom changes of one node become one", async () => {
    createPeer(kube, 2);
    await using node = kubeStore(kube);
    await node.acquire();
    const stop = new AbortController();
    const events = node.store.watchLeases(stop.signal)[Symbol.asyncIterator]();
    expect((await events.next()).value?.kind).toBe("snapshot");
    await settle();
    for (let i = 0; i < 1000; i++) kube.annotate("n2", annotationsOf(2, macOf(i)));
    createPeer(kube, 3);
    await settle();
    const taken = [(await events.next()).value, (await events.next()).value];
    expect(taken.map((event) => event?.kind === "put" && event.lease.key).toSorted())
      .toEqual(["node/n2", "node/n3"]);
    stop.abort();
    expect((await events.next()).done).toBe(true);
    expect(kube.watches).toBe(0);
  });
});

test("a bug while nodes are followed is thrown to the reader of the leases", async () => {
  const bug = new TypeError("a bug");
  for (const method of ["listNodes", "watchNodes"] as const) {
    await using node = kubeStore(kube);
    await node.acquire();
    kube.failNext(method, bug);
    const stop = new AbortController();
    const leases = node.store.watchLeases(stop.signal)[Symbol.asyncIterator]();
    if (method === "watchNodes") expect((await leases.next()).value?.kind).toBe("snapshot");
    expect(await leases.next().catch((error) => error)).toBe(bug);
    await leases.return?.();
  }
});

test("a watch of leases that is stopped before it begins asks for nothing", async () => {
  for (const network of [{}, { Backend: { Type: "alloc" } }]) {
    await using node = kubeStore(kube);
    await node.acquire({ config: config({ Network: "10.244.0.0/16", ...network }) });
    kube.calls.length = 0;
    expect(await Array.fromAsync(node.store.watchLeases(AbortSignal.abort()))).toEqual([]);
    expect(kube.calls).toEqual([]);
  }
});

test("with the alloc backend only this node is watched", async () => {
  createPeer(kube, 2);
  await using node = kubeStore(kube);
  await node.acquire({
    config: config({ Network: "10.244.0.0/16", Backend: { Type: "alloc" } }),
    attributes: { publicAddresses: {}, backendType: "", backendData: {} },
  });
  await using follow = new LeaseFollow(node.store);
  await settle();
  kube.annotate("n2", annotationsOf(2, macOf(9)));
  await settle();
  expect(follow.events).toEqual(["snapshot 0"]);
  expect(kube.calls.filter((call) => /LIST|WATCH/.test(call))).toEqual(["WATCH n1"]);
  kube.annotate("n1", { [NAMES.managed]: null });
  await kube.clock.advance(2000);
  expect(kube.annotations("n1")[NAMES.managed]).toBe("true");
});

test("with the alloc backend, a Node that is deleted and created again is noticed", async () => {
  await using node = kubeStore(kube);
  const own = await node.acquire({
    config: config({ Network: "10.244.0.0/16", Backend: { Type: "alloc" } }),
    attributes: { publicAddresses: {}, backendType: "", backendData: {} },
  });
  const stop = new AbortController();
  const leases = node.store.watchLeases(stop.signal)[Symbol.asyncIterator]();
  expect((await leases.next()).value).toMatchObject({ kind: "snapshot", leases: [], invalid: [] });
  const end = leases.next();
  await settle();
  const isDeleted = 'node "n1" was deleted from Kubernetes';
  kube.delete("n1");
  await kube.clock.advance(1000);
  expect(own.problem).toStartWith(isDeleted);
  kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
  await kube.clock.advance(5000);
  expect(own.problem).toBe(undefined);
  expect(kube.annotations("n1")[NAMES.managed]).toBe("true");
  // Also if the watch has missed it.
  kube.changeWithoutEvents(() => kube.delete("n1"));
  await kube.clock.advance(20_000);
  expect(own.problem).toStartWith(isDeleted);
  expect(node.messages()).toContain(
    'warn following this node failed: nodes "n1" not found',
  );
  kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
  await kube.clock.advance(20_000);
  expect(own.problem).toBe(undefined);
  stop.abort();
  expect((await end).done).toBe(true);
});
