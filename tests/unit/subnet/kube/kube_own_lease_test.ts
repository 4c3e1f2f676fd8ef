/** This node's Node: found, waited for, annotated, and kept so. */

import { beforeEach, describe, expect, test } from "bun:test";
import { ConfigError } from "../../../../src/config/config_error.ts";
import type { OwnLease } from "../../../../src/subnet/lease_store.ts";
import { assignedSubnets, nodeNameSource } from "../../../../src/subnet/kube/own_node.ts";
import { settle } from "../../../support/fake_clock.ts";
import { FakeKube, kubeError } from "../../../support/fake_kube.ts";
import {
  annotationsOf,
  DUAL,
  failure,
  forever,
  IPV4,
  kubeStore,
  LeaseFollow,
  MAC,
  NAMES,
  type TestStore,
  vxlan,
  within,
} from "../../../support/kube_store.ts";

const REQUEST = {
  config: IPV4,
  attributes: vxlan({ 4: "192.0.2.1" }),
  previousSubnets: {},
};
const WRITTEN = {
  [NAMES.managed]: "true",
  [NAMES.backendType]: "vxlan",
  [NAMES.backendData[4]]: `{"VNI":1,"VtepMAC":"${MAC}"}`,
  [NAMES.publicAddress[4]]: "192.0.2.1",
};

let kube: FakeKube;

beforeEach(() => {
  kube = new FakeKube();
});

const patches = () => kube.calls.filter((call) => call.startsWith("PATCH"));

describe("the name of the Node", () => {
  test("is NODE_NAME, or that of the node on which the pod runs", () => {
    expect(nodeNameSource({ NODE_NAME: "n1", POD_NAME: "p", POD_NAMESPACE: "ns" }))
      .toEqual({ kind: "name", name: "n1" });
    expect(nodeNameSource({ NODE_NAME: "", POD_NAME: "p", POD_NAMESPACE: "ns" }))
      .toEqual({ kind: "pod", namespace: "ns", pod: "p" });
  });

  test.each([[{}], [{ POD_NAME: "p" }], [{ POD_NAMESPACE: "ns", POD_NAME: "" }]])(
    "cannot be found from %p",
    (env) => {
      expect(() => nodeNameSource(env)).toThrow(ConfigError);
      expect(() => nodeNameSource(env))
        .toThrow("env variables POD_NAME and POD_NAMESPACE must be set");
    },
  );

  test("is waited for, in the words of Go flannel", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    const node = { kind: "pod", namespace: "kube-flannel", pod: "ds-x" } as const;
    await using store = kubeStore(kube, { node });
    const own = store.acquire();
    await kube.clock.advance(1000);
    expect(store.messages()[0]).toBe(
      "warn taking this node's subnet failed: error retrieving " +
        `pod spec for 'kube-flannel/ds-x': pods "ds-x" not found; or set NODE_NAME from the ` +
        "field spec.nodeName",
    );
    kube.pods.set("kube-flannel/ds-x", { nodeName: "" });
    await kube.clock.advance(3000);
    expect(store.messages().at(-1))
      .toContain("node name not present in pod spec 'kube-flannel/ds-x'");
    kube.pods.set("kube-flannel/ds-x", { nodeName: "n1" });
    expect(String((await own).lease.key)).toBe("node/n1");
  });
});

describe("the Node", () => {
  test("is read again when its state is older than five seconds", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    await using node = kubeStore(kube);
    for (const pauseMs of [0, 5000, 1]) {
      await kube.clock.advance(pauseMs);
      await node.store.prescribedAddresses(IPV4, forever);
    }
    expect(kube.calls).toEqual(["GET n1", "GET n1"]);
  });

  test("is waited for while it cannot be read, but not with a bug", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    kube.fail("node", "server");
    await using node = kubeStore(kube);
    const addresses = node.store.prescribedAddresses(IPV4, forever);
    await kube.clock.advance(3000);
    expect(node.messages()).toEqual(["warn reading this node failed: node is server"]);
    kube.works("node");
    expect(await within(kube, addresses)).toEqual({});
    const bug = new TypeError("a bug");
    kube.failNext("pod", bug);
    const pod = { kind: "pod", namespace: "kube-flannel", pod: "ds-x" } as const;
    await using other = kubeStore(kube, { node: pod });
    expect(await failure(other.store.prescribedAddresses(IPV4, forever))).toBe(bug);
  });

  test("waits as long as the API server asks for the pod", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    kube.pods.set("kube-flannel/ds-x", { nodeName: "n1" });
    kube.failNext("pod", kubeError("throttled", "too many requests", 20_000));
    const pod = { kind: "pod", namespace: "kube-flannel", pod: "ds-x" } as const;
    await using node = kubeStore(kube, { node: pod });
    const addresses = node.store.prescribedAddresses(IPV4, forever);
    await kube.clock.advance(19_999);
    expect(kube.calls).toHaveLength(1);
    await kube.clock.advance(3000);
    expect(await addresses).toEqual({});
  });

  test("without usable pod CIDRs is refused, or waited for, with the networks' names", () => {
    const subnets = (podCidrs: readonly string[], config = DUAL) => {
      const metadata = { name: "n1", uid: "u", resourceVersion: "1", createdMs: 0 };
      const node = { ...metadata, annotations: {}, managedFields: [], conditions: [], podCidrs };
      return () => assignedSubnets(node, config);
    };
    expect(subnets([])).toThrow("--cluster-cidr=10.244.0.0/16,fd00:10::/48 (kubeadm init");
    expect(subnets(["x"])).toThrow('cannot use node "n1": its pod CIDR "x" is not an IP prefix');
    expect(subnets(["fd00:10::/64"])).toThrow('"n1" has no IPv4 pod CIDR, only fd00:10::/64, and');
    expect(subnets(["fd00:10::/64", "10.244.1.0/24"])() as object)
      .toEqual({ 4: "10.244.1.0/24", 6: "fd00:10::/64" });
    expect(subnets(["fd00:10::/64", "10.244.1.0/24"], IPV4)() as object)
      .toEqual({ 4: "10.244.1.0/24" });
  });
});

describe("a start", () => {
  test("reads the Node once and writes what differs once", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    await using node = kubeStore(kube);
    const { store } = node;
    expect(await store.prescribedAddresses(IPV4, forever)).toEqual({});
    expect(await store.previousLease({ config: IPV4, publicAddresses: {} }, forever))
      .toBe(undefined);
    const own = await node.acquire();
    expect(own.lease).toMatchObject({
      key: "node/n1",
      subnets: { 4: "10.244.1.0/24" },
      attributes: REQUEST.attributes,
    });
    expect(kube.annotations("n1")).toEqual(WRITTEN);
    expect(kube.calls).toEqual([
      "GET n1",
      `PATCH n1 ${JSON.stringify({ metadata: { uid: "uid-1", annotations: WRITTEN } })}`,
    ]);
  });

  test("after a restart writes nothing, and finds what the node published", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    await using node = kubeStore(kube);
    const previous = await node.store.previousLease({ config: IPV4, publicAddresses: {} }, forever);
    expect(previous?.attributes).toEqual(REQUEST.attributes);
    expect(previous?.subnets).toEqual({ 4: "10.244.1.0/24" as never });
    await node.acquire();
    await using follow = new LeaseFollow(node.store);
    await kube.clock.advance(60_000);
    expect(follow.events).toEqual(["snapshot 1"]);
    expect(kube.calls).toEqual(["GET n1", "LIST", "WATCH"]);
  });

  test("with another address writes that alone", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    await using node = kubeStore(kube);
    await node.acquire({ attributes: vxlan({ 4: "192.0.2.5" }) });
    const annotations = { [NAMES.publicAddress[4]]: "192.0.2.5" };
    expect(patches())
      .toEqual([`PATCH n1 ${JSON.stringify({ metadata: { uid: "uid-1", annotations } })}`]);
  });

  test("reads the Node again when another one has its name by then", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    await using node = kubeStore(kube);
    await node.store.previousLease({ config: IPV4, publicAddresses: {} }, forever);
    kube.delete("n1");
    kube.create("n1", { podCidrs: ["10.244.2.0/24"] });
    const own = await node.acquire();
    expect(own.lease.subnets).toEqual({ 4: "10.244.2.0/24" as never });
    expect(kube.annotations("n1")).toEqual(WRITTEN);
  });

  test("waits for the Node, then for its pod CIDR, then for permission", async () => {
    await using node = kubeStore(kube);
    const own = node.acquire();
    await kube.clock.advance(20_000);
    const prefix = "warn taking this node's subnet failed: ";
    expect(node.messages()).toEqual([
      `${prefix}node "n1" does not exist; waiting until the kubelet has registered it; if it has ` +
      "another name, correct NODE_NAME",
    ]);
    kube.create("n1");
    await kube.clock.advance(20_000);
    expect(node.messages()).toHaveLength(2);
    expect(node.messages()[1]).toBe(
      `${prefix}node "n1" pod cidr not assigned; waiting for it; kube-controller-manager assigns ` +
        "one if it has --allocate-node-cidrs=true and --cluster-cidr=10.244.0.0/16 (kubeadm init " +
        "--pod-network-cidr=10.244.0.0/16)",
    );
    kube.fail("patch", "forbidden");
    kube.assign("n1", "10.244.1.0/24");
    await kube.clock.advance(2000);
    expect(node.messages().at(-1)).toBe(
      "warn writing this node's annotations failed: patch is " +
        "forbidden",
    );
    kube.works("patch");
    await kube.clock.advance(2000);
    expect((await own).lease.subnets).toEqual({ 4: "10.244.1.0/24" as never });
  });

  test("waits as long as the API server asks", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    kube.failNext("node", kubeError("throttled", "too many requests", 20_000));
    await using node = kubeStore(kube);
    const own = node.acquire();
    await kube.clock.advance(19_999);
    expect(kube.calls).toHaveLength(1);
    await kube.clock.advance(3000);
    await own;
  });

  test.each([
    [
      ["10.5.1.0/24"],
      IPV4,
      'subnet "10.244.0.0/16" specified in the flannel net config doesn\'t contain "10.5.1.0/24" ' +
      'PodCIDR of the "n1" node; set Network to the --cluster-cidr of kube-controller-manager',
    ],
    [
      ["10.244.1.0/24", "fd00:99::/64"],
      DUAL,
      'subnet "fd00:10::/48" specified in the flannel net config doesn\'t contain ' +
      '"fd00:99::/64" IPv6 PodCIDR of the "n1" node; set IPv6Network to the --cluster-cidr of ' +
      "kube-controller-manager",
    ],
    [
      ["10.244.1.0/24"],
      DUAL,
      'node "n1" has no IPv6 pod CIDR, only 10.244.1.0/24, and the network has IPv6; set ' +
      "EnableIPv6 to false, or give kube-controller-manager a --cluster-cidr of each family and " +
      "recreate the Node",
    ],
  ])(
    "with the pod CIDRs %p is refused before anything is written",
    async (podCidrs, config, text) => {
      kube.create("n1", { podCidrs });
      await using node = kubeStore(kube);
      const error = await failure(node.store.acquire({ ...REQUEST, config }, forever));
      expect(error).toBeInstanceOf(ConfigError);
      expect(error.message).toBe(text);
      expect(patches()).toEqual([]);
    },
  );

  test("warns of an address of this host in its pod CIDR", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    await using node = kubeStore(kube);
    const excluded = [{ address: "10.244.1.7" as never, what: "the default gateway of eth0" }];
    await node.acquire({ excluded });
    expect(node.messages()).toEqual([
      'warn pod CIDR 10.244.1.0/24 of node "n1" contains 10.244.1.7, the default gateway of ' +
      "eth0, which may become unreachable; choose a --cluster-cidr that does not contain it",
    ]);
  });
});

describe("addresses in annotations", () => {
  test("are prescribed before the interface is chosen", async () => {
    kube.create("n1", {
      podCidrs: ["10.244.1.0/24"],
      annotations: { [NAMES.prescribed[4]]: "198.51.100.7", [NAMES.prescribed[6]]: "x" },
    });
    await using node = kubeStore(kube);
    expect(await node.store.prescribedAddresses(IPV4, forever)).toEqual({
      4: {
        address: "198.51.100.7" as never,
        source: 'annotation flannel.alpha.coreos.com/node-public-ip of node "n1"',
      },
    });
    const error = await failure(node.store.prescribedAddresses(DUAL, forever));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toBe(
      'annotation flannel.alpha.coreos.com/node-public-ipv6 of node "n1" is "x", not an IPv6 ' +
        "address; correct it or remove it",
    );
  });

  test("overwrite the one that is published, also later", async () => {
    kube.create("n1", {
      podCidrs: ["10.244.1.0/24"],
      annotations: { [NAMES.overwrite[4]]: "198.51.100.7" },
    });
    await using node = kubeStore(kube);
    const own = await node.acquire();
    await using _follow = new LeaseFollow(node.store);
    expect(kube.annotations("n1")[NAMES.publicAddress[4]]).toBe("198.51.100.7");
    expect(own.lease.attributes.publicAddresses).toEqual({ 4: "198.51.100.7" as never });
    kube.annotate("n1", { [NAMES.overwrite[4]]: "198.51.100.8" });
    await kube.clock.advance(1000);
    expect(kube.annotations("n1")[NAMES.publicAddress[4]]).toBe("198.51.100.8");
    kube.annotate("n1", { [NAMES.overwrite[4]]: "no address" });
    await kube.clock.advance(1000);
    expect(kube.annotations("n1")[NAMES.publicAddress[4]]).toBe("192.0.2.1");
    expect(node.messages()).toEqual([
      `info publishing the public address 198.51.100.7 of annotation ${NAMES.overwrite[4]}`,
      `warn annotation ${NAMES.overwrite[4]} is "no address", not an IPv4 address; publishing ` +
      "this node's own address until it is corrected or removed",
    ]);
    expect(own.problem).toBe(undefined);
  });
});

describe("the annotations", () => {
  async function held(
    options: Parameters<typeof kubeStore>[1] = {},
  ): Promise<AsyncDisposable & { readonly node: TestStore; readonly own: OwnLease }> {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    const node = kubeStore(kube, options);
    const own = await node.acquire();
    const follow = new LeaseFollow(node.store);
    await settle();
    kube.calls.length = 0;
    return {
      node,
      own,
      async [Symbol.asyncDispose]() {
        await follow[Symbol.asyncDispose]();
        await node[Symbol.asyncDispose]();
      },
    };
  }

  test("that another program changes are written again, and it is named", async () => {
    await using world = await held();
    kube.annotate("n1", { [NAMES.publicAddress[4]]: "192.0.2.66" }, "kubectl-edit");
    await kube.clock.advance(1000);
    expect(kube.annotations("n1")).toEqual(WRITTEN);
    kube.annotate("n1", { [NAMES.managed]: null, [NAMES.backendType]: null });
    await kube.clock.advance(1000);
    expect(kube.annotations("n1")).toEqual(WRITTEN);
    expect(world.node.messages()).toEqual([
      `warn "kubectl-edit" changed the annotation ${NAMES.publicAddress[4]} to "192.0.2.66" of ` +
      'node "n1"; restoring',
      `warn another program removed the annotation ${NAMES.managed} and 1 more of node "n1"; ` +
      "restoring",
    ]);
    expect(patches()).toHaveLength(2);
    expect(world.own.problem).toBe(undefined);
  });

  test("of the node cost nothing while other things in it change", async () => {
    await using _world = await held();
    for (let i = 0; i < 20; i++) kube.heartbeat("n1");
    kube.annotate("n1", { "other/annotation": "x" });
    await kube.clock.advance(60_000);
    expect(kube.calls).toEqual([]);
  });

  test("over which two nodes with one name disagree are written at growing intervals", async () => {
    await using world = await held();
    await using rival = kubeStore(kube, { manager: "flanneld" });
    await rival.acquire({ attributes: vxlan({ 4: "192.0.2.2" }) });
    await using _follow = new LeaseFollow(rival.store);
    await kube.clock.advance(600_000);
    expect(patches().length).toBeLessThan(120);
    expect(world.own.problem).toBe(
      `"flanneld" changed the annotation ${NAMES.publicAddress[4]} to "192.0.2.2" of node "n1", ` +
        "again and again; the other nodes may use its values; stop that program, or, if it is " +
        'flanneld, make sure that NODE_NAME is "n1" on one host only',
    );
    await rival[Symbol.asyncDispose]();
    await kube.clock.advance(120_000);
    expect(kube.annotations("n1")).toEqual(WRITTEN);
    expect(world.own.problem).toBe(undefined);
  });

  test("are written again to a Node that was deleted and created again", async () => {
    await using world = await held();
    world.own.networkReady();
    await settle();
    kube.calls.length = 0;
    kube.delete("n1");
    await kube.clock.advance(5000);
    expect(world.own.problem).toBe(
      'node "n1" was deleted from Kubernetes, so the other nodes have no route to this one; ' +
        "waiting until the kubelet has registered it again",
    );
    kube.create("n1");
    await kube.clock.advance(5000);
    expect(patches()).toEqual([]);
    expect(world.own.problem).toContain('node "n1" pod cidr not assigned');
    kube.failNext("patch", kubeError("server", "no"), kubeError("server", "no"));
    kube.assign("n1", "10.244.1.0/24");
    await kube.clock.advance(20_000); // Three pauses of five seconds at most.
    expect(kube.annotations("n1")).toEqual(WRITTEN);
    expect(kube.get("n1").conditions.map(({ reason }) => reason)).toEqual(["FlannelIsUp"]);
    expect(world.own.problem).toBe(undefined);
    expect(world.node.messages().slice(-4)).toEqual([
      expect.stringContaining("pod cidr not assigned"),
      'warn node "n1" was deleted and created again; writing its annotations',
      "warn checking this node's annotations failed: no",
      expect.stringContaining("works again"),
    ]);
  });

  test("are completed by the condition after a failure in between", async () => {
    await using world = await held();
    world.own.networkReady();
    await settle();
    kube.delete("n1");
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    kube.failNext("patch", kubeError("server", "no"));
    await kube.clock.advance(10_000);
    expect(kube.get("n1").conditions.map(({ reason }) => reason)).toEqual(["FlannelIsUp"]);
  });

  test("of a Node that is gone when the network is ready get their condition later", async () => {
    await using world = await held();
    kube.delete("n1");
    await settle();
    world.own.networkReady();
    await kube.clock.advance(10_000);
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    await kube.clock.advance(10_000);
    expect(kube.annotations("n1")).toEqual(WRITTEN);
    expect(kube.get("n1").conditions.map(({ reason }) => reason)).toEqual(["FlannelIsUp"]);
  });

  test.each([
    [
      "another pod CIDR",
      ["10.244.2.0/24"],
      'node "n1" was deleted and created again, with the pod CIDR 10.244.2.0/24',
    ],
    [
      "a pod CIDR outside of the network",
      ["10.5.1.0/24"],
      expect.stringContaining('doesn\'t contain "10.5.1.0/24" PodCIDR'),
    ],
  ])("are lost with the subnet when the new Node has %s", async (_, podCidrs, reason) => {
    await using world = await held();
    kube.delete("n1");
    kube.create("n1", { podCidrs });
    expect(await within(kube, world.own.lost)).toEqual(reason);
    await kube.clock.advance(60_000);
    expect(patches()).toEqual([]);
  });

  test("are lost with a subnet of either family", async () => {
    const podCidrs = ["10.244.1.0/24", "fd00:10:0:1::/64"];
    kube.create("n1", { podCidrs, annotations: WRITTEN });
    await using node = kubeStore(kube);
    const own = await node.acquire({ config: DUAL });
    await using _follow = new LeaseFollow(node.store);
    await settle();
    kube.delete("n1");
    kube.create("n1", { podCidrs: ["10.244.1.0/24", "fd00:10:0:2::/64"] });
    expect(await within(kube, own.lost)).toBe(
      'node "n1" was deleted and created again, with the pod CIDR 10.244.1.0/24 and ' +
        "fd00:10:0:2::/64",
    );
  });

  test("are compared with what is read, not with an old event", async () => {
    await using world = await held();
    await world.own.update(vxlan({ 4: "192.0.2.9" }), forever);
    await kube.clock.advance(1000);
    expect(patches()).toHaveLength(1);
    expect(kube.annotations("n1")[NAMES.publicAddress[4]]).toBe("192.0.2.9");
    expect(world.own.lease.attributes.publicAddresses).toEqual({ 4: "192.0.2.9" as never });
    expect(world.node.messages()).toEqual([]);
  });

  test("are changed through an outage", async () => {
    await using world = await held();
    kube.fail("patch", "unreachable");
    const update = world.own.update(vxlan({ 4: "192.0.2.9" }), forever);
    await kube.clock.advance(30_000);
    kube.works("patch");
    await within(kube, update);
    expect(kube.annotations("n1")[NAMES.publicAddress[4]]).toBe("192.0.2.9");
  });

  test("are changed at once or not at all, if the caller stops", async () => {
    await using world = await held();
    kube.fail("patch", "unreachable");
    const stop = new AbortController();
    const update = failure(world.own.update(vxlan({ 4: "192.0.2.9" }), stop.signal));
    await kube.clock.advance(3000);
    stop.abort(new Error("enough"));
    expect((await within(kube, update)).message).toBe("enough");
    expect(world.node.messages())
      .toEqual(["warn changing this node's annotations failed: patch is unreachable"]);
  });

  test("of a Node that cannot be read are read again; it does not count as deleted", async () => {
    await using world = await held();
    kube.fail("node", "server");
    kube.annotate("n1", { [NAMES.managed]: null });
    await kube.clock.advance(10_000);
    expect(world.own.problem).toBe(undefined);
    expect(world.node.messages())
      .toEqual(["warn checking this node's annotations failed: node is server"]);
    kube.works("node");
    await kube.clock.advance(10_000);
    expect(kube.annotations("n1")).toEqual(WRITTEN);
  });

  test("of a Node that stays deleted are reported once", async () => {
    await using world = await held();
    kube.delete("n1");
    await kube.clock.advance(5000);
    await world.own.update(vxlan({ 4: "192.0.2.9" }), forever);
    await world.own.update(vxlan({ 4: "192.0.2.10" }), forever);
    expect(world.node.messages()).toEqual([
      'warn node "n1" was deleted from Kubernetes, so the other nodes have no route to this one; ' +
      "waiting until the kubelet has registered it again",
    ]);
  });

  test("of another Node with the same name and values are checked, too", async () => {
    await using world = await held();
    kube.changeWithoutEvents(() => {
      kube.delete("n1");
      kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    });
    await kube.clock.advance(20_000);
    expect(world.node.messages())
      .toContain('warn node "n1" was deleted and created again; writing its annotations');
  });

  test("with an overwrite that cannot be used are reported once", async () => {
    await using world = await held();
    kube.annotate("n1", { [NAMES.overwrite[4]]: "no address" });
    await kube.clock.advance(1000);
    kube.annotate("n1", { [NAMES.publicAddress[4]]: "192.0.2.66" });
    await kube.clock.advance(1000);
    const overwrites = world.node.messages().filter((line) => line.includes("no address"));
    expect(overwrites).toHaveLength(1);
  });

  test("that cannot be checked because of a bug end the lease with it", async () => {
    await using world = await held();
    const bug = new TypeError("a bug");
    kube.failNext("node", bug);
    kube.annotate("n1", { [NAMES.managed]: null });
    expect(await within(kube, failure(world.own.lost as Promise<unknown>))).toBe(bug);
  });

  test("and the condition: a bug that prevents it ends the lease with it, too", async () => {
    await using world = await held();
    const bug = new TypeError("a bug");
    kube.failNext("patch", bug);
    world.own.networkReady();
    expect(await within(kube, failure(world.own.lost as Promise<unknown>))).toBe(bug);
  });

  test("are left when the lease is disposed of", async () => {
    const world = await held();
    await world[Symbol.asyncDispose]();
    kube.annotate("n1", { [NAMES.managed]: null });
    await kube.clock.advance(60_000);
    expect(kube.calls).toEqual([]);
  });
});

describe("the condition NetworkUnavailable", () => {
  test("is written as Go flannel does, once the network is ready, through an outage", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    kube.setCondition("n1", "Ready", "True");
    await using node = kubeStore(kube);
    const own = await node.acquire();
    kube.calls.length = 0;
    kube.fail("patch", "server");
    own.networkReady();
    await kube.clock.advance(10_000);
    expect(kube.get("n1").conditions).toHaveLength(1);
    expect(node.messages()).toEqual([
      "warn setting the condition NetworkUnavailable of this node failed: patch is server",
    ]);
    kube.works("patch");
    await kube.clock.advance(6000);
    expect(kube.get("n1").conditions.map(({ type, status }) => `${type} ${status}`))
      .toEqual(["Ready True", "NetworkUnavailable False"]);
    const time = expect.stringMatching(/^1970-01-01T00:1\d:\d\dZ$/);
    const patch = JSON.parse(kube.calls.at(-1)?.replace("PATCH n1 ", "") as string);
    expect(patch).toEqual({
      status: {
        conditions: [{
          type: "NetworkUnavailable",
          status: "False",
          lastHeartbeatTime: time,
          lastTransitionTime: time,
          reason: "FlannelIsUp",
          message: "Flannel is running on this node",
        }],
      },
    });
    expect(Object.keys(patch.status.conditions[0])).toEqual([
      "type",
      "status",
      "lastHeartbeatTime",
      "lastTransitionTime",
      "reason",
      "message",
    ]);
  });

  test("is written once, and not before the network is ready", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    await using node = kubeStore(kube);
    const own = await node.acquire();
    await using _follow = new LeaseFollow(node.store);
    await settle();
    kube.delete("n1");
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    await kube.clock.advance(5000);
    expect(kube.annotations("n1")).toEqual(WRITTEN);
    expect(kube.get("n1").conditions).toEqual([]);
    kube.calls.length = 0;
    own.networkReady();
    own.networkReady();
    await kube.clock.advance(5000);
    own.networkReady();
    await kube.clock.advance(5000);
    expect(patches()).toHaveLength(1);
  });

  test("of a Node that is gone is no failure", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    await using node = kubeStore(kube);
    const own = await node.acquire();
    kube.delete("n1");
    own.networkReady();
    await kube.clock.advance(5000);
    expect(node.messages().filter((line) => line.includes("failed"))).toEqual([]);
  });

  test("is left alone with --set-node-network-unavailable=false", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations: WRITTEN });
    await using node = kubeStore(kube, { setsCondition: false });
    const own = await node.acquire();
    own.networkReady();
    await kube.clock.advance(10_000);
    expect(patches()).toEqual([]);
  });
});

describe("whether a node is alive", () => {
  async function* states(node: TestStore, address: string, signal: AbortSignal) {
    yield* node.store.watchAlive(address as never, signal);
  }

  test("is the condition Ready of the Node with the address", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    kube.create("n2", { podCidrs: ["10.244.2.0/24"], annotations: annotationsOf(2) });
    kube.setCondition("n2", "Ready", "True");
    await using node = kubeStore(kube);
    await node.acquire();
    await using _follow = new LeaseFollow(node.store);
    await settle();
    const stop = new AbortController();
    const alive = states(node, "192.0.0.2", stop.signal);
    const next = async () => (await within(kube, alive.next())).value;
    expect(await next()).toBe(true);
    kube.setCondition("n2", "Ready", "Unknown");
    expect(await next()).toBe(false);
    kube.setCondition("n2", "Ready", "True");
    expect(await next()).toBe(true);
    kube.delete("n2");
    expect(await next()).toBe(false);
    stop.abort();
    expect((await alive.next()).done).toBe(true);
  });

  test("cannot be determined without permission", async () => {
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    kube.create("n2", { podCidrs: ["10.244.2.0/24"], annotations: annotationsOf(2) });
    await using node = kubeStore(kube);
    await node.acquire();
    await using _follow = new LeaseFollow(node.store);
    await settle();
    kube.fail("node", "forbidden");
    expect(await within(kube, states(node, "192.0.0.2", forever).next()))
      .toEqual({ done: true, value: undefined });
  });
});
