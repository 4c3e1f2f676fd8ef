/** What the store passes on, and what it knows of an earlier run. */

import { describe, expect, test } from "bun:test";
import { BACKENDS } from "../../../../src/backend/backend_registry.ts";
import { KubeError } from "../../../../src/kube/kube_error.ts";
import { StoreError } from "../../../../src/subnet/lease_store.ts";
import { KubeLeaseStore } from "../../../../src/subnet/kube/kube_lease_store.ts";
import { NotYetError, retryOfKube } from "../../../../src/subnet/kube/kube_store_failure.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeKube, kubeError } from "../../../support/fake_kube.ts";
import {
  config,
  forever,
  IPV4,
  kubeStore,
  LeaseFollow,
  NAMES,
} from "../../../support/kube_store.ts";

describe("the store", () => {
  test("asks its source for the configuration, and closes its client", async () => {
    const kube = new FakeKube();
    const api = kube.client();
    let closed = 0;
    api[Symbol.asyncDispose] = () => Promise.resolve(void closed++);
    const store = new KubeLeaseStore({
      api,
      config: {
        networkConfig: (signal) => Promise.resolve(`read ${signal === forever}`),
        async *watchNetworkConfig(signal) {
          yield await Promise.resolve(`watched ${signal === forever}`);
        },
      },
      node: { kind: "name", name: "n1" },
      names: NAMES,
      backendOf: (network) => BACKENDS.forNetwork(network),
      setsCondition: true,
      clock: kube.clock,
      log: collectingLog().log,
    });
    expect(store.description).toBe(api.description);
    expect(store.allocation).toBe("kubernetes");
    expect(await store.networkConfig(forever)).toBe("read true");
    expect(await Array.fromAsync(store.watchNetworkConfig(forever))).toEqual(["watched true"]);
    await store[Symbol.asyncDispose]();
    expect(closed).toBe(1);
  });

  test("follows leases after it has acquired one", async () => {
    await using node = kubeStore(new FakeKube());
    expect(() => node.store.watchLeases(forever)).toThrow("watchLeases is called after acquire");
    expect(() => node.store.watchAlive("192.0.2.1" as never, forever))
      .toThrow("watchAlive is called after acquire");
  });

  test("writes and reads annotations in the format of the network's backend", async () => {
    const kube = new FakeKube();
    kube.create("n1", { podCidrs: ["10.244.1.0/24"] });
    await using node = kubeStore(kube);
    const network = config({ Network: "10.244.0.0/16", Backend: { Type: "extension" } });
    const attributes = { publicAddresses: {}, backendType: "extension", backendData: {} };
    await node.acquire({ config: network, attributes });
    expect(kube.annotations("n1")[NAMES.backendData[4]]).toBe("");
    await using follow = new LeaseFollow(node.store);
    expect(follow.error).toBe(undefined);
  });
});

describe("the lease of an earlier run", () => {
  const previous = async (annotations: Record<string, string>) => {
    const kube = new FakeKube();
    kube.create("n1", { podCidrs: ["10.244.1.0/24"], annotations });
    await using node = kubeStore(kube);
    return await node.store.previousLease({ config: IPV4, publicAddresses: {} }, forever);
  };

  test.each([
    [NAMES.backendType, "vxlan", { backendType: "vxlan" }],
    [NAMES.publicAddress[4], "192.0.2.1", { publicAddresses: { 4: "192.0.2.1" } }],
    [NAMES.backendData[4], '{"VNI":1}', { backendData: { 4: { VNI: 1 } } }],
  ])("is known from %p alone", async (name, value, attributes) => {
    expect((await previous({ [name]: value }))?.attributes as unknown).toEqual({
      publicAddresses: {},
      backendType: "",
      backendData: {},
      ...attributes,
    });
  });

  test("is none without any of them", async () => {
    expect(await previous({ [NAMES.managed]: "true", [NAMES.backendType]: "" })).toBe(undefined);
  });
});

describe("a failed call is repeated", () => {
  test("if the API server failed, did not answer or has not got something yet", () => {
    expect(retryOfKube(kubeError("server", "no", 2000)))
      .toEqual({ isUnreachable: false, retryAfterMs: 2000 });
    expect(retryOfKube(new KubeError("gone", { kind: "unreachable" })))
      .toEqual({ isUnreachable: true, retryAfterMs: undefined });
    const notYet = new NotYetError("later");
    expect(retryOfKube(notYet)).toEqual({});
    expect(notYet.name).toBe("NotYetError");
  });

  test("but not a bug, nor what another part of the store refuses", () => {
    expect(retryOfKube(new TypeError("a bug"))).toBe(undefined);
    expect(retryOfKube(new StoreError("no"))).toBe(undefined);
  });
});
