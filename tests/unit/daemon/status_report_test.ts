/** What the daemon hands to its status socket. */

import { beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { runDaemon } from "../../../src/daemon/daemon.ts";
import { versionText } from "../../../src/cli/version.ts";
import type { Resource } from "../../../src/state/resource.ts";
import type { StatusDocument } from "../../../src/control/status_document.ts";
import { daemonOptions, eth0, FakeDaemonWorld } from "../../support/fake_daemon.ts";
import { peersSchema, schemaProblems, statusSchema } from "../../support/json_schema.ts";
import { HOST, ip, lease, prefix } from "../../support/sample_network.ts";

let world: FakeDaemonWorld;
let stop: AbortController;

beforeAll(async () => {
  for (const type of ["vxlan", "host-gw"]) await BACKENDS.find(type)?.load();
});

beforeEach(() => {
  world = new FakeDaemonWorld();
  stop = new AbortController();
});

function run(...flags: string[]): Promise<number> {
  const { ports, log: { log } } = world;
  const options = daemonOptions(["--healthz-port=8080", ...flags]);
  return runDaemon({ options, ports, log, stop: stop.signal });
}

async function runReady(backend: string, ...nodes: number[]): Promise<Promise<number>[]> {
  const { type } = JSON.parse(backend) as { readonly type: string };
  world.store.config = `{"Network":"10.5.0.0/16","EnableNFTables":true,"Backend":${
    backend.replace("type", "Type")
  }}`;
  const running = run();
  await world.clock.advance(1000);
  world.store.snapshot(...nodes.map((n) => lease(n, type, [4])));
  await world.clock.advance(1000);
  return [running];
}

function document(): StatusDocument {
  const made = world.status?.document();
  if (made === undefined) throw new Error("the status socket is not open");
  expect(schemaProblems(made, statusSchema())).toEqual([]);
  expect(made.problems.map(({ text }) => text)).toEqual([...world.readyz?.() ?? []]);
  return made;
}

describe("the document of a node", () => {
  test("that is ready", async () => {
    await runReady('{"type":"vxlan"}', 2, 3);
    expect(world.status?.path).toBe("/fake/flanneld.sock");
    expect(document()).toMatchObject({
      version: versionText(),
      pid: process.pid,
      subnetFile: "/fake/subnet.env",
      ready: true,
      step: null,
      node: { publicAddresses: ["192.168.0.1"] },
      network: { networks: ["10.5.0.0/16"], subnets: ["10.5.1.0/24"] },
      backend: { type: "vxlan", devices: ["flannel.1"] },
      externalInterface: {
        name: "eth0",
        mtuBytes: 1500,
        addresses: ["192.168.0.1"],
        reasons: [
          "using interface eth0 (default route), MTU 1500",
          "IPv4 address 192.168.0.1, advertised to the other nodes",
        ],
      },
      mtu: { bytes: 1450, baseBytes: 1500, base: "interface", overheadBytes: 50 },
      store: { kind: "etcd", description: "etcd", endpoint: null, lease: { expiresAt: null } },
      rules: { mode: "nftables", inSync: true },
      peers: { tunnel: 2, direct: 0, unreachable: 0, ignored: 0, departing: 0 },
      repairs: [],
      problems: [],
    });
  });

  test("with host-gw: the peers are reached directly", async () => {
    await runReady('{"type":"host-gw"}', 2, 3);
    expect(document()).toMatchObject({
      backend: { type: "host-gw", devices: [] },
      mtu: { bytes: 1500, overheadBytes: 0 },
      peers: { tunnel: 0, direct: 2, unreachable: 0 },
    });
  });

  test("with the option MTU", async () => {
    await runReady('{"type":"vxlan","MTU":1400}');
    expect(document().mtu).toEqual({
      bytes: 1350,
      baseBytes: 1400,
      base: "configuration",
      overheadBytes: 50,
    });
  });

  test("that waits for its configuration, after two seconds", async () => {
    world.store.config = undefined;
    void run("--subnet-file=/fake/blue.env");
    await world.clock.advance(1900);
    expect(world.status).toBeUndefined();
    await world.clock.advance(200);
    expect(world.status?.path).toBe("/fake/blue.env.sock");
    expect(document()).toMatchObject({
      ready: false,
      step: "waiting for a network configuration at /test/config in etcd",
      network: null,
      store: { kind: "etcd", lease: null },
      peers: null,
      problems: [{
        area: "start",
        text: "waiting for a network configuration at /test/config in etcd",
      }],
    });
  });

  test("with problems: the lines of /readyz, each with what to do", async () => {
    await runReady('{"type":"vxlan"}', 2);
    world.firewall.state = { isInSync: false, problem: "iptables is gone" };
    world.interfaces = [eth0({ addresses: [] })];
    const [address] = HOST.filter(({ kind }) => kind === "address");
    world.kernel.outside({ op: "delete", resource: address as Resource });
    await world.clock.advance(3000);
    const { ready, rules, problems } = document();
    expect({ ready, rules }).toEqual({ ready: false, rules: { mode: "nftables", inSync: false } });
    expect(problems.map(({ area }) => area)).toContain("rules");
    for (const { action } of problems) expect(action).not.toBe("");
  });

  test("whose entries another program removes: the last repairs", async () => {
    await runReady('{"type":"vxlan"}', 2);
    const before = [...world.kernel.table.values()].find((one) =>
      one.kind === "route" && one.link === "flannel.1"
    );
    world.kernel.outside({ op: "delete", resource: before as Resource });
    await world.clock.advance(3000);
    expect(document().repairs).toMatchObject([
      { action: "restored", entry: expect.stringMatching(/^route 10\.5\.2\.0\/24 .*flannel\.1/) },
    ]);
  });

  test("one of whose peers has just left, and one of which is ignored", async () => {
    await runReady('{"type":"vxlan"}', 2, 3);
    const departed = lease(2, "vxlan", [4]);
    world.store.lease({ kind: "delete", key: departed.key });
    const other = lease(4, "vxlan", [4]);
    world.store.lease({
      kind: "put",
      lease: {
        ...other,
        attributes: { ...other.attributes, publicAddresses: { 4: ip("10.5.3.3") } },
      },
    });
    await world.clock.advance(100);
    expect(document().peers)
      .toEqual({ tunnel: 1, direct: 0, unreachable: 0, ignored: 1, departing: 1 });
    await world.clock.advance(2000);
    expect(document().peers).toMatchObject({ tunnel: 1, departing: 0 });
  });
});

describe("a status socket that cannot be opened", () => {
  test("is a warning, tried again, and the daemon works", async () => {
    world.faults.set("serve status", new Error("another process (process 7) listens there"));
    const [running] = await runReady('{"type":"vxlan"}', 2);
    const line = "warn cannot serve flanneld status at /fake/flanneld.sock: another process " +
      "(process 7) listens there; the network works without it";
    expect(world.logged().filter((one) => one.includes("status"))).toEqual([line]);
    expect(world.readyz?.()).toEqual([]);
    await world.clock.advance(25_000);
    expect(world.logged().filter((one) => one.includes("status"))).toEqual([line]);
    world.faults.clear();
    await world.clock.advance(10_000);
    expect(world.logged().at(-1)).toBe("info serving flanneld status at /fake/flanneld.sock");
    expect(document().ready).toBe(true);
    stop.abort(new Error("stopped by SIGTERM"));
    expect(await world.settled(running as Promise<number>)).toBe(0);
    expect(world.status).toBeUndefined();
  });
});

describe("the document of the other nodes", () => {
  const peers = async (query: Record<string, string> = {}) => {
    const made = await world.status?.peers(new URLSearchParams(query));
    if (made === undefined) throw new Error("the status socket is not open");
    expect(schemaProblems(made, peersSchema())).toEqual([]);
    return made.peers;
  };

  test("has a row for each, without entries", async () => {
    await runReady('{"type":"vxlan"}', 2, 3);
    expect(await peers()).toMatchObject([2, 3].map((n) => ({
      subnets: [`10.5.${n}.0/24`],
      publicAddresses: [`192.168.0.${n}`],
      path: "tunnel",
      problem: null,
      entries: null,
    })));
  });

  test("has the entries of one that is asked for by subnet or address", async () => {
    await runReady('{"type":"vxlan"}', 2, 3);
    const bySubnet = await peers({ subnet: "10.5.3.0/24" });
    expect(bySubnet).toMatchObject([{ subnets: ["10.5.3.0/24"] }]);
    expect(bySubnet[0]?.entries?.map(({ key }) => key.split(" ")[0]))
      .toEqual(["neighbour", "fdb", "route"]);
    expect(await peers({ address: "10.5.3.77" })).toEqual(bySubnet);
    expect(await peers({ address: "192.168.0.3" })).toEqual(bySubnet);
    expect(await peers({ address: "10.5.9.1" })).toEqual([]);
    await expect(peers({ address: "x" })).rejects.toThrow(
      "the value of address is not an IP address",
    );
    await expect(peers({ subnet: "10.5.3.0" })).rejects.toThrow(
      "the value of subnet is not a subnet",
    );
  });

  test("says why a lease is ignored", async () => {
    await runReady('{"type":"vxlan"}', 2);
    world.store.lease({
      kind: "put",
      lease: { ...lease(3, "vxlan", [4]), subnets: { 4: prefix("10.6.0.0/24") } },
    });
    await world.clock.advance(100);
    expect(await peers()).toMatchObject([
      { path: "tunnel" },
      { path: "ignored", subnets: [], problem: expect.stringContaining("10.6.0.0/24") },
    ]);
  });
});
