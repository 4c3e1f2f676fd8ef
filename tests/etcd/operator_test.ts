/** The commands of an operator against a real store. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { FakeKubeApi, json } from "../support/fake_kube_api.ts";
import { nodeJson } from "../support/kube_objects.ts";
import { runProgram } from "../support/program.ts";
import { eventually } from "../support/wait.ts";
import { IPV4, request, testNode } from "./lease_store_fixture.ts";

const forever = new AbortController().signal;
let server: EtcdServer;
let prefix: string;
let prefixes = 0;

beforeAll(async () => {
  server = await EtcdServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());
afterEach(() => server.thaw());

/** An empty network. */
function newPrefix(): string {
  return prefix = `/network-${prefixes++}`;
}

function client(): EtcdClient {
  return new EtcdClient({
    clock: systemClock,
    endpoints: [server.url],
    log: collectingLog().log,
  });
}

function run(args: string, input = "") {
  const flags = [`--etcd-endpoints=${server.url}`, `--etcd-prefix=${prefix}`];
  const words = args.split(" ");
  const [command = "", ...rest] = words;
  // Flags follow the subcommand, if there is one.
  const isSub = rest[0] !== undefined && !rest[0].startsWith("-");
  const names = isSub ? [command, rest[0] as string] : [command];
  return runProgram([...names, ...flags, ...words.slice(names.length)], input);
}

async function put(key: string, value: string): Promise<void> {
  await server.etcdctl("put", `${prefix}/${key}`, value);
}

/** A node with a lease, until the end of the scope. */
async function node(host: string, address: string) {
  const store = testNode({ etcd: client(), prefix, host });
  const own = await store.store.acquire(request(IPV4, { 4: address }), forever);
  return {
    subnet: own.lease.subnets[4] as string,
    key: own.lease.key as string,
    own,
    [Symbol.asyncDispose]: async () => {
      await own[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

describe("flanneld leases", () => {
  test("lists leases, reservations and what is invalid", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    await put("subnets/10.5.0.0-24", '{"PublicIP":"192.0.2.7"}');
    await put("subnets/zero", "{}");
    await using one = await node("node1", "192.0.2.1");
    const text = await run("leases");
    expect(text).toMatchObject({ exitCode: 0, err: "" });
    expect(text.out).toContain("10.5.0.0/24");
    const { leases } = JSON.parse((await run("leases --json")).out);
    expect(leases).toHaveLength(3);
    const [reserved, lease, invalid] = leases;
    expect(reserved).toMatchObject({
      subnet: "10.5.0.0/24",
      kind: "reservation",
      remainingSeconds: null,
      ignored: "no node has taken it yet",
    });
    expect(lease).toMatchObject({
      subnet: one.subnet,
      publicIP: "192.0.2.1",
      backend: "vxlan",
      kind: "lease",
      host: "node1",
      alive: true,
      ignored: null,
    });
    expect(lease.remainingSeconds).toBeGreaterThan(86_000);
    expect(invalid.ignored).toBe("its key does not name a subnet");
  });

  test("shows no host when the daemon has ended", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    await (await node("node1", "192.0.2.1"))[Symbol.asyncDispose]();
    const { leases } = JSON.parse((await run("leases --json")).out);
    expect(leases).toMatchObject([{ publicIP: "192.0.2.1", host: null, alive: false }]);
  });

  test("without a configuration lists what there is, and says why it is not checked", async () => {
    newPrefix();
    await put("subnets/10.9.0.0-24", '{"PublicIP":"192.0.2.7"}');
    const { exitCode, out, err } = await run("leases");
    expect(exitCode).toBe(0);
    expect(out).toContain("10.9.0.0/24");
    expect(err).toStartWith(`the leases are not checked: there is no ${prefix}/config in etcd at`);
  });

  test("ends with the reason if the store does not answer", async () => {
    newPrefix();
    server.freeze();
    const startMs = performance.now();
    const { exitCode, out, err } = await run("leases");
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: "" });
    expect(err).toStartWith(`flanneld leases: cannot read ${prefix}/config`);
    expect(err.trimEnd().split("\n")).toHaveLength(1);
    expect(performance.now() - startMs).toBeLessThan(20_000);
    server.thaw();
    await eventually("the store answers", 10_000, async () => (await run("leases")).exitCode === 0);
  });

  test("lists the Nodes of Kubernetes", async () => {
    const annotations = {
      "flannel.alpha.coreos.com/kube-subnet-manager": "true",
      "flannel.alpha.coreos.com/backend-type": "vxlan",
      "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}',
      "flannel.alpha.coreos.com/public-ip": "192.0.2.1",
    };
    await using api = await FakeKubeApi.start(json({
      kind: "NodeList",
      apiVersion: "v1",
      metadata: { resourceVersion: "7" },
      items: [
        nodeJson("node2", { podCidrs: ["10.244.2.0/24"], annotations }),
        nodeJson("node1", { podCidrs: ["10.244.1.0/24"], annotations }),
        nodeJson("other", { podCidrs: ["10.244.3.0/24"] }),
      ],
    }));
    const flags = ["--kube-subnet-mgr", `--kube-api-url=${api.url}`, "--net-config-path=/no/file"];
    const { exitCode, out, err } = await runProgram(["leases", ...flags]);
    expect(out).toBe(
      "SUBNET         ADDRESS    BACKEND  KIND  LEFT  HOST\n" +
        "10.244.1.0/24  192.0.2.1  vxlan    node  -     node1\n" +
        "10.244.2.0/24  192.0.2.1  vxlan    node  -     node2\n",
    );
    expect(err).toContain("the leases are not checked: failed to read net conf: open /no/file");
    expect(exitCode).toBe(0);
  });
});
