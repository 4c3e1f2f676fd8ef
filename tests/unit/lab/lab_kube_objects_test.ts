/** The objects of a lab with Kubernetes, and what the manifest says of its daemons. */

import { describe, expect, test } from "bun:test";
import { VXLAN } from "../../../src/backend/vxlan/vxlan_descriptor.ts";
import { collectionPath } from "../../../src/lab/kube/kube_admin_api.ts";
import { nodeObject } from "../../../src/lab/kube/kube_objects.ts";
import { type KubeObject, labManifest } from "../../../src/lab/kube/lab_manifest.ts";
import { networkConfig, podCidrs } from "../../../src/lab/lab_network.ts";
import type { LabOptions } from "../../../src/lab/lab_options.ts";
import { planTopology } from "../../../src/lab/topology.ts";
import { configFile, manifestObjects, podSpec } from "../../support/kube_manifest.ts";

const OPTIONS: LabOptions = {
  hosts: 2,
  backend: VXLAN,
  families: [4, 6],
  keep: false,
  daemon: [],
};
const [host] = planTopology({ prefix: "p", hostSegments: [0], families: [4] }).hosts;
if (host === undefined) throw new Error("the topology has no host");

describe("podCidrs()", () => {
  test("has a subnet for each host and family, within the network", () => {
    expect(podCidrs(1, OPTIONS) as object).toEqual({ 4: "10.244.1.0/24", 6: "fd00:10:244:1::/64" });
    expect(podCidrs(2, { ...OPTIONS, families: [6] }) as object)
      .toEqual({ 6: "fd00:10:244:2::/64" });
    expect(podCidrs(1000, { hosts: 1000, families: [4, 6] }) as object)
      .toEqual({ 4: "10.3.232.0/24", 6: "fd00:10:244:3e8::/64" });
  });

  test("of a Node are in the order in which Kubernetes has them", () => {
    expect(nodeObject(host, OPTIONS)).toMatchObject({
      kind: "Node",
      metadata: { name: "h1" },
      spec: { podCIDR: "10.244.1.0/24", podCIDRs: ["10.244.1.0/24", "fd00:10:244:1::/64"] },
    });
  });
});

test("networkConfig() has the networks of the families, and the backend", () => {
  expect(networkConfig(OPTIONS)).toMatchObject({
    EnableIPv4: true,
    Network: "10.244.0.0/16",
    SubnetLen: 24,
    EnableIPv6: true,
    IPv6Network: "fd00:10:244::/48",
    Backend: { Type: "vxlan" },
  });
  const ipv6Only = networkConfig({ ...OPTIONS, families: [6] });
  expect(ipv6Only).toMatchObject({ EnableIPv4: false, EnableIPv6: true });
  expect(Object.keys(ipv6Only)).not.toContain("Network");
  expect(networkConfig({ ...OPTIONS, hosts: 201 })).toMatchObject({ Network: "10.0.0.0/8" });
});

describe("labManifest()", () => {
  const manifest = labManifest({ Network: "10.9.0.0/16" });

  test("is that of deploy/, with the network configuration of the lab", () => {
    const files = { "cni-conf.json": configFile(manifestObjects(), "cni-conf.json") };
    const expected = manifestObjects().map((object) =>
      object.kind === "ConfigMap"
        ? { ...object, data: { ...files, "net-conf.json": '{"Network":"10.9.0.0/16"}' } }
        : object
    );
    expect(manifest.objects).toEqual(expected as unknown as KubeObject[]);
  });

  test("has the account, the flags and the plugins of a node", () => {
    expect(manifest.account).toEqual({ namespace: "kube-flannel", name: "flannel" });
    expect(manifest.daemonFlags).toEqual(podSpec(manifestObjects()).containers[0]?.args ?? []);
    expect(manifest.conflist.plugins.map(({ type }) => type)).toEqual(["flannel", "portmap"]);
  });

  test("has a pod for each host, whose daemon learns its name", () => {
    const pod = manifest.daemonPod(host);
    expect(pod).toMatchObject({
      kind: "Pod",
      metadata: { namespace: "kube-flannel", name: "kube-flannel-ds-h1" },
      spec: { nodeName: "h1", serviceAccountName: "flannel", hostNetwork: true },
    });
    expect(manifest.daemonEnvironment(pod))
      .toEqual({ POD_NAME: "kube-flannel-ds-h1", POD_NAMESPACE: "kube-flannel" });
  });
});

test.each([
  ["v1", "Namespace", undefined, "/api/v1/namespaces"],
  ["v1", "Pod", "kube-flannel", "/api/v1/namespaces/kube-flannel/pods"],
  [
    "rbac.authorization.k8s.io/v1",
    "ClusterRole",
    undefined,
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
  ],
  ["apps/v1", "DaemonSet", "a", "/apis/apps/v1/namespaces/a/daemonsets"],
])("objects of %s %s in %p are created at %s", (apiVersion, kind, namespace, path) => {
  const metadata = { name: "x", ...(namespace === undefined ? {} : { namespace }) };
  expect(collectionPath({ apiVersion, kind, metadata })).toBe(path);
});
