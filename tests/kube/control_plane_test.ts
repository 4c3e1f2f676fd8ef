/** The control plane of these tests is a real one: data survive, roles and tokens count. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { KubeCluster } from "../support/kube/kube_cluster.ts";
import { eventually } from "../support/wait.ts";

describe.each(["etcd", "flanneld datastore"] as const)("with %s", (store) => {
  let cluster: KubeCluster;

  beforeAll(async () => {
    cluster = await KubeCluster.create({ hosts: 0, store });
  }, 180_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 60_000);

  test("nodes and their podCIDRs survive a crash of the API server", async () => {
    const { admin, plane } = cluster;
    await admin.createNode({ name: "n1" });
    await admin.assignPodCidrs("n1", ["10.244.7.0/24"]);
    await admin.annotateFlannel("n1", { "public-ip": "192.0.2.7" });
    await plane.killApiServer();
    await plane.startApiServer();
    await plane.ready();
    expect((await admin.node("n1")).spec).toMatchObject({
      podCIDR: "10.244.7.0/24",
      podCIDRs: ["10.244.7.0/24"],
    });
    expect(await admin.flannelAnnotations("n1")).toEqual({ "public-ip": "192.0.2.7" });
  }, 180_000);

  test("the account of the manifest may do what its role says and nothing else", async () => {
    const { admin, plane } = cluster;
    await plane.waitUntilAllowed(plane.flannel);
    const flannel = admin.as(plane.flannel.token(600));
    await flannel.call("GET", "/api/v1/nodes");
    await expect(flannel.call("GET", "/api/v1/pods")).rejects.toThrow(/GET .*: 403 .*cannot list/);
    await expect(flannel.deleteNode("n1")).rejects.toThrow(/DELETE .*: 403 .*cannot delete/);
    expect(plane.calls().map(({ verb, uri, status }) => `${verb} ${uri} ${status}`)).toEqual([
      "list /api/v1/nodes 200",
      "list /api/v1/pods 403",
      "delete /api/v1/nodes/n1 403",
    ]);
  }, 180_000);

  test("a token is refused when its time is over", async () => {
    const { admin, plane } = cluster;
    const shortLived = admin.as(plane.flannel.token(2));
    await shortLived.call("GET", "/api/v1/nodes/n1");
    await eventually("the token is refused", 60_000, async () => {
      const failure = await shortLived.call("GET", "/api/v1/nodes/n1").then(() => "", String);
      return failure.includes("401");
    });
  }, 180_000);
});
