/** The commands of an operator against a real store. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import type { NetworkConfig } from "../../src/config/network_config.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { checkConfigText } from "../../src/operator/check_config.ts";
import { releaseLease } from "../../src/operator/release_lease.ts";
import { reserveSubnet } from "../../src/operator/reserve_subnet.ts";
import { RefusedError } from "../../src/operator/run_operator.ts";
import { setConfig } from "../../src/operator/set_config.ts";
import type { NetworkStore } from "../../src/operator/stored_network.ts";
import { LeaseRecords } from "../../src/subnet/etcd/lease_records.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { FakeKubeApi, json } from "../support/fake_kube_api.ts";
import { nodeJson } from "../support/kube_objects.ts";
import { runProgram } from "../support/program.ts";
import { eventually } from "../support/wait.ts";
import { IPV4, IPV6_ONLY, request, testNode } from "./lease_store_fixture.ts";

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

  test("on a host that has not joined names the file that is missing", async () => {
    const { exitCode, err } = await runProgram(["leases", "--join-state=/no/such/file"]);
    expect(exitCode).toBe(1);
    expect(err).toEndWith("this host has not joined a datastore: there is no /no/such/file\n");
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

describe("flanneld leases reserve", () => {
  test("makes a reservation that the node takes at its next start and keeps", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    expect(await run("leases reserve 10.5.7.0/24 192.0.2.7")).toEqual({
      exitCode: 0,
      out: "reserved 10.5.7.0/24 for 192.0.2.7\n",
      err: "",
    });
    expect(await valueOf("subnets/10.5.7.0-24")).toBe('{"PublicIP":"192.0.2.7","PublicIPv6":null}');
    expect((await run("leases reserve 10.5.7.0/24 192.0.2.7")).out)
      .toBe("10.5.7.0/24 is already reserved for 192.0.2.7\n");
    await using one = await node("node7", "192.0.2.7");
    expect(one.subnet).toBe("10.5.7.0/24");
    const { leases } = JSON.parse((await run("leases --json")).out);
    expect(leases).toMatchObject([{ kind: "reservation", host: "node7", ignored: null }]);
  });

  test("turns the lease of a running node into a reservation, which its daemon keeps", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    await using one = await node("node1", "192.0.2.1");
    const before = await valueOf(`subnets/${one.key}`);
    const { exitCode, out } = await run(`leases reserve ${one.subnet} 192.0.2.1`);
    expect(exitCode).toBe(0);
    expect(out).toContain("its node has it and keeps it; the lease no longer expires");
    expect(await valueOf(`subnets/${one.key}`)).toBe(before);
    const lost = await Promise.race([one.own.lost, Bun.sleep(500)]);
    expect(lost).toBeUndefined();
    const { leases } = JSON.parse((await run("leases --json")).out);
    expect(leases).toMatchObject([{ kind: "reservation", host: "node1", remainingSeconds: null }]);
  });

  test("says what happens to a node that has another subnet", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16","SubnetMax":"10.5.9.0"}');
    await using one = await node("node1", "192.0.2.1");
    const { out } = await run("leases reserve 10.5.200.0/24 192.0.2.1");
    expect(out).toBe("");
    const subnet = one.subnet === "10.5.7.0/24" ? "10.5.8.0/24" : "10.5.7.0/24";
    expect((await run(`leases reserve ${subnet} 192.0.2.1`)).out).toBe(
      `reserved ${subnet} for 192.0.2.1\n` +
        `its node, "node1", has ${one.subnet} until flanneld is restarted there; its workloads ` +
        "then need new addresses\n",
    );
    expect((await run(`leases release ${subnet}`)).out)
      .toBe(`released the reservation of ${subnet} for 192.0.2.1: no node has taken it\n`);
  });

  test("refuses what another node has, or what no node could take", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    await using one = await node("node1", "192.0.2.1");
    await put("subnets/10.5.7.0-24", '{"PublicIP":"192.0.2.7"}');
    await put("subnets/10.5.8.0-24", "garbage");
    const refusals = [
      [`${one.subnet} 192.0.2.9`, `${one.subnet} is leased to 192.0.2.1 (host "node1", which is`],
      ["10.5.7.0/24 192.0.2.9", "10.5.7.0/24 is reserved for 192.0.2.7; choose another subnet"],
      ["10.5.8.0/24 192.0.2.9", "10.5.8.0/24 is reserved for a node without a valid public"],
      ["10.5.9.0/24 192.0.2.7", "10.5.7.0/24 is already reserved for 192.0.2.7, and a node takes"],
      ["10.5.9.0/25 192.0.2.9", "10.5.9.0/25 is not a /24"],
      [
        "10.5.0.0/24 192.0.2.9",
        "10.5.0.0/24 is not one of the subnets of the network, 10.5.1.0/24",
      ],
      ["10.6.0.0/24 192.0.2.9", "10.6.0.0/24 is not one of the subnets of the network"],
      ["10.5.9.0/24 10.5.1.1", "the public address 10.5.1.1 is inside the overlay network"],
      ["10.5.9.0/24,fc00::/64 192.0.2.9", "the network has no IPv6; omit fc00::/64"],
      ["10.5.9.0/24 2001:db8::1", "the network has no IPv6; omit 2001:db8::1"],
    ] as const;
    for (const [args, message] of refusals) {
      const { exitCode, out, err } = await run(`leases reserve ${args}`);
      expect({ args, exitCode, out }).toEqual({ args, exitCode: 1, out: "" });
      expect(err).toStartWith(`flanneld leases reserve: ${message}`);
      expect(err.trimEnd().split("\n")).toHaveLength(1);
    }
    expect((await run("leases reserve 10.5.9.0 192.0.2.9")).exitCode).toBe(2);
  });

  test("needs a configuration", async () => {
    newPrefix();
    const { exitCode, err } = await run("leases reserve 10.5.9.0/24 192.0.2.9");
    expect(exitCode).toBe(1);
    expect(err).toContain(`cannot check the subnet: there is no ${prefix}/config in etcd at`);
  });

  test("takes both subnets of a dual-stack network", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}');
    const reserve = (args: string) => run(`leases reserve ${args}`);
    expect((await reserve("10.5.7.0/24 192.0.2.7")).err).toContain("the network has IPv6");
    expect((await reserve("10.5.7.0/24,fc00:0:0:7::/64 192.0.2.7,2001:db8::7")).out)
      .toBe("reserved 10.5.7.0/24 and fc00:0:0:7::/64 for 192.0.2.7\n");
    const overlapping = await reserve("10.5.8.0/24,fc00:0:0:7::/64 192.0.2.8,2001:db8::8");
    expect(overlapping.err).toContain("10.5.7.0/24 and fc00:0:0:7::/64 is reserved for 192.0.2.7");
    expect((await run("leases release fc00:0:0:7::/64")).out).toContain(
      "released the reservation of 10.5.7.0/24 and fc00:0:0:7::/64 for 192.0.2.7",
    );
  });
});

test("in an IPv6-only network, a node is known by its IPv6 address", async () => {
  newPrefix();
  await put("config", '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}');
  expect((await run("leases reserve fc00:0:0:7::/64 192.0.2.7")).err).toContain("has no IPv4");
  expect((await run("leases reserve fc00:0:0:7::/64 2001:db8::7")).out)
    .toBe("reserved fc00:0:0:7::/64 for 2001:db8::7\n");
  const store = testNode({ etcd: client(), prefix, host: "node7" });
  await using _store = store;
  const wanted = request(IPV6_ONLY, { 6: "2001:db8::7" });
  await using own = await store.store.acquire(wanted, forever);
  expect(own.lease.subnets as object).toEqual({ 6: "fc00:0:0:7::/64" });
  const { leases } = JSON.parse((await run("leases --json")).out);
  expect(leases).toMatchObject([
    { key: "0.0.0.0-0&fc00:0:0:7::-64", kind: "reservation", host: "node7", alive: true },
  ]);
  expect((await run("leases release fc00:0:0:7::/64")).err).toContain("the host node7 is alive");
});

describe("flanneld leases release", () => {
  test("refuses while the session of the node exists, unless forced", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    await using one = await node("node1", "192.0.2.1");
    const refused = await run(`leases release ${one.subnet}`);
    expect(refused).toMatchObject({ exitCode: 1, out: "" });
    expect(refused.err).toStartWith(
      `flanneld leases release: the lease of ${one.subnet} for 192.0.2.1 is in use: the host ` +
        `node1 is alive (its session is ${prefix}/sessions/192.0.2.1); stop flanneld there`,
    );
    const forced = await run(`leases release --force ${one.subnet}`);
    expect(forced.exitCode).toBe(0);
    expect(forced.out).toContain("a running daemon takes it again at once, as a lease");
    await eventually("the daemon has it again", 10_000, async () => {
      return (await server.etcdctl("get", `${prefix}/subnets/${one.key}`)) !== "";
    });
  });

  test("refuses a lease without a session that was renewed within an hour", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    const etcd = client();
    const value = '{"PublicIP":"192.0.2.1","BackendType":"vxlan"}';
    const attach = async (key: string, ttlSeconds: number) => {
      const { id } = await etcd.grantLease({ ttlSeconds }, forever);
      const put = { key: `${prefix}/subnets/${key}`, value, lease: id };
      await etcd.transaction({ compare: [], success: [{ put }] }, forever);
    };
    await attach("10.5.1.0-24", 86_400);
    const { exitCode, err } = await run("leases release 10.5.1.0/24");
    expect(exitCode).toBe(1);
    expect(err).toMatch(/is in use: its node has no session, and it was renewed \d+ m?s ago; stop/);
    expect((await run("leases release --force 10.5.1.0/24")).exitCode).toBe(0);
    expect(await valueOf("subnets/10.5.1.0-24")).toBe("");
    await etcd[Symbol.asyncDispose]();
  });

  test("names what does not exist", async () => {
    newPrefix();
    const { exitCode, err } = await run("leases release 10.5.1.0/24");
    expect(exitCode).toBe(1);
    expect(err).toContain(`there is no lease of "10.5.1.0/24" below ${prefix}/subnets/ in etcd at`);
  });

  test("releases what is invalid, by its key", async () => {
    newPrefix();
    await put("subnets/zero", "{}");
    expect((await run("leases release zero")).out)
      .toBe('released the reservation of the key "zero": it names no node that could be alive\n');
  });

  test.each(["reserve 10.5.1.0/24 192.0.2.1", "release 10.5.1.0/24"])(
    "with Kubernetes %s is refused",
    async (args) => {
      const [name = "", ...rest] = args.split(" ");
      const { exitCode, err } = await runProgram(["leases", name, "--kube-subnet-mgr", ...rest]);
      expect(exitCode).toBe(1);
      expect(err).toContain("Kubernetes assigns the subnets");
    },
  );
});

describe("flanneld config show", () => {
  test("prints a document with all defaults, and what follows from it", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16","SubnetMax":"10.5.20.0"}');
    await put("subnets/10.5.7.0-24", '{"PublicIP":"192.0.2.7"}');
    await put("subnets/10.5.99.0-24", '{"PublicIP":"192.0.2.8"}');
    await put("subnets/10.5.9.0-24", '{"PublicIP":"192.0.2.1"}');
    await using one = await node("node1", "192.0.2.1");
    expect(one.subnet).toBe("10.5.9.0/24");
    const { exitCode, out, err } = await run("config show --iface=lo");
    expect(exitCode).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      SubnetMin: "10.5.1.0",
      SubnetMax: "10.5.20.0",
      Backend: { Type: "vxlan", VNI: 1, Port: 8472 },
    });
    const [source, capacity, mtu] = err.trimEnd().split("\n");
    expect(source).toBe(`source: ${prefix}/config in etcd at ${server.url}`);
    expect(capacity).toBe(
      "IPv4: 20 subnets, 10.5.1.0/24 to 10.5.20.0/24: 2 taken (0 leased, 2 reserved), 18 free; " +
        "1 more outside of them",
    );
    expect(mtu).toMatch(/^MTU: unknown on this host: .*lo/);
  });

  test("says which interface the MTU is from", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    const { err } = await run("config show");
    // A machine without a default route has no external interface.
    expect(err).toMatch(
      /^MTU: (\d+ bytes for workloads: \d+ of \S+, less 50 of vxlan|unknown.*)$/m,
    );
  });

  test("names the mistake in a configuration that no daemon can use", async () => {
    newPrefix();
    expect((await run("config show")).err)
      .toStartWith(`flanneld config show: there is no ${prefix}/config in etcd at`);
    await put("config", '{"Network":"10.5.0.0/33"}');
    const { exitCode, out, err } = await run("config show");
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: "" });
    expect(err).toContain("is invalid: Network in the network configuration is ");
  });
});

describe("flanneld config check", () => {
  test("reads a file, standard input, or the store", async () => {
    newPrefix();
    const text = '{"Network": "10.5.0.0/16",\n  "SubnetLn": 25}';
    const warning =
      'unknown key "SubnetLn" in the network configuration is ignored; did you mean ' +
      '"SubnetLen"?';
    expect(await runProgram(["config", "check", "-"], text)).toEqual({
      exitCode: 1,
      out: `standard input:2:3: warning: ${warning}\n`,
      err: "",
    });
    await put("config", text);
    expect((await run("config check")).out)
      .toBe(`${prefix}/config in etcd at ${server.url}:2:3: warning: ${warning}\n`);
    await put("config", '{"Network": "10.5.0.0/16"}');
    expect(await run("config check")).toMatchObject({
      exitCode: 0,
      out: `${prefix}/config in etcd at ${server.url} is valid: vxlan, 10.5.0.0/16\n`,
    });
    const missing = await runProgram(["config", "check", "/no/such/file"]);
    expect(missing).toMatchObject({ exitCode: 1, out: "" });
    expect(missing.err).toStartWith("flanneld config check: cannot read /no/such/file: ENOENT");
  });
});

describe("flanneld config set", () => {
  const CONFIG = '{"Network": "10.5.0.0/16"}';

  test("writes the text as it is, and says what it changes", async () => {
    newPrefix();
    expect(await run("config set -", CONFIG)).toEqual({
      exitCode: 0,
      out: `there is no ${prefix}/config in etcd at ${server.url} yet\n` +
        `wrote ${prefix}/config in etcd at ${server.url} at revision ${await revision()}\n`,
      err: "",
    });
    expect(await valueOf("config")).toBe(CONFIG);
    expect((await run("config set -", CONFIG)).out).toContain("already has this configuration");
    const wider = '{"Network": "10.5.0.0/16", "SubnetMin": "10.5.0.0", "Backend": {"VNI": 2}}';
    expect((await run("config set -", wider)).out).toStartWith(
      'SubnetMin: "10.5.1.0" -> "10.5.0.0"\nBackend.VNI: 1 -> 2\nwrote ',
    );
  });

  test("refuses what takes the subnet of a node away, unless forced", async () => {
    newPrefix();
    await put("config", CONFIG);
    await using one = await node("node1", "192.0.2.1");
    await put("subnets/10.5.0.0-24", '{"PublicIP":"192.0.2.7"}');
    const other = '{"Network": "10.6.0.0/16", "Backend": {"Type": "host-gw"}}';
    const refused = await run("config set -", other);
    expect(refused.exitCode).toBe(1);
    expect(refused.out).toBe(
      'Network: "10.5.0.0/16" -> "10.6.0.0/16"\n' +
        'SubnetMin: "10.5.1.0" -> "10.6.1.0"\n' +
        'SubnetMax: "10.5.255.0" -> "10.6.255.0"\n' +
        'Backend.Type: "vxlan" -> "host-gw"\n' +
        `192.0.2.1 (node1, alive) loses ${one.subnet}, which is not one of 10.6.1.0/24 to ` +
        "10.6.255.0/24\n" +
        "no node could then take the reservation of 10.5.0.0/24\n" +
        "nodes with vxlan and nodes with host-gw ignore each other until all of them are " +
        "restarted\n" +
        "1 node keeps the previous configuration until flanneld is restarted there\n",
    );
    expect(refused.err).toBe(
      "flanneld config set: nothing is changed: a node would lose its subnet or could not " +
        "start; move the workloads first, or write it anyway with --force\n",
    );
    expect(await valueOf("config")).toBe(CONFIG);
    expect((await run("config set --force -", other)).exitCode).toBe(0);
    expect(await valueOf("config")).toBe(other);
  });

  test("does not take an unexpired lease without a session for that of a dead node", async () => {
    newPrefix();
    await put("config", CONFIG);
    const gone = await node("node1", "192.0.2.1");
    await gone[Symbol.asyncDispose]();
    const { exitCode, out } = await run("config set -", '{"Network": "10.6.0.0/16"}');
    expect(exitCode).toBe(1);
    expect(out).toContain(`192.0.2.1 (no session) loses ${gone.subnet}`);
  });

  test("refuses a network that contains the address of a node", async () => {
    newPrefix();
    await put("config", CONFIG);
    await using _one = await node("node1", "10.200.0.1");
    const { exitCode, out } = await run("config set -", '{"Network": "10.0.0.0/8"}');
    expect(exitCode).toBe(1);
    expect(out).toContain(
      "10.200.0.1 (node1, alive) cannot start: its public address 10.200.0.1 is inside the " +
        "overlay network 10.0.0.0/8\n",
    );
  });

  test("refuses errors even with --force, and warnings without it", async () => {
    newPrefix();
    await put("config", CONFIG);
    const bad = await run("config set --force -", '{"Network": "10.5.0.0/33"}');
    expect(bad).toMatchObject({ exitCode: 1, out: "" });
    expect(bad.err).toStartWith("standard input:1:2: error: Network in");
    expect(bad.err).toEndWith(
      "flanneld config set: nothing is changed: no daemon could use the configuration\n",
    );
    const unknown = '{"Network": "10.5.0.0/16", "SubnetLn": 25}';
    const warned = await run("config set -", unknown);
    expect(warned).toMatchObject({ exitCode: 1, out: "" });
    expect(warned.err).toContain("nothing is changed because of the warnings");
    expect(await valueOf("config")).toBe(CONFIG);
    expect((await run("config set --force -", unknown)).exitCode).toBe(0);
    const kube = await runProgram(["config", "set", "--kube-subnet-mgr", "-"], CONFIG);
    expect(kube.err).toContain("the configuration is in the ConfigMap kube-flannel-cfg");
  });

  test("shows no secret", async () => {
    newPrefix();
    const configOf = (fill: number) => {
      const psk = Buffer.alloc(32, fill).toString("base64");
      return `{"Network": "10.5.0.0/16", "Backend": {"Type": "wireguard", "PSK": "${psk}"}}`;
    };
    await put("config", configOf(1));
    const { out, err } = await run("config set -", configOf(2));
    expect(out).toStartWith("Backend.PSK: another secret\nwrote ");
    expect(out + err + (await run("config show")).out).not.toContain(configOf(2).slice(60, 80));
  });

  test("changes nothing if another program is faster, before or between", async () => {
    newPrefix();
    const { config } = await checkConfigText(CONFIG, "flanneld");
    const request = {
      text: CONFIG,
      config: config as NetworkConfig,
      force: true,
      print: () => Promise.resolve(),
    };
    for (const present of [undefined, '{"Network": "10.7.0.0/16"}']) {
      if (present !== undefined) await put("config", present);
      const theirs = `{"Network": "10.8.0.0/16", "SubnetLen": ${present === undefined ? 25 : 26}}`;
      await using store = racedStore(() => put("config", theirs));
      await expect(setConfig(store, request, forever)).rejects
        .toThrow("another program has changed");
      expect(await valueOf("config")).toBe(theirs);
    }
  });

  test("names a node that took a subnet in the meantime", async () => {
    newPrefix();
    await put("config", CONFIG);
    const text = '{"Network": "10.6.0.0/16"}';
    const { config } = await checkConfigText(text, "flanneld");
    const value = '{"PublicIP":"192.0.2.1","BackendType":"vxlan"}';
    await using store = racedStore(() => put("subnets/10.5.9.0-24", value));
    const printed: string[] = [];
    const print = (lines: readonly string[]) => Promise.resolve(void printed.push(...lines));
    await setConfig(store, { text, config: config as NetworkConfig, force: false, print }, forever);
    expect(printed.at(-1)).toStartWith("in the meantime: 192.0.2.1 (no session) loses 10.5.9.0/24");
  });
});

describe("the examples of docs/operate.md", () => {
  const page = readFileSync(join(import.meta.dir, "../../docs/operate.md"), "utf8");
  const blocks = [...page.matchAll(/^```(\w*)\n([^]*?)^```$/gm)]
    .map(([, language, text = ""]) => ({ language, text }));

  /** The outputs that follow a command. */
  function outputsOf(command: string): string[] {
    const start = blocks.findIndex(({ language, text }) =>
      language === "" && text === `${command}\n`
    );
    expect(start).toBeGreaterThanOrEqual(0);
    const rest = blocks.slice(start + 1);
    const end = rest.findIndex(({ language }) => language === "");
    return rest.slice(0, end < 0 ? undefined : end)
      .filter(({ language }) => language === "text").map(({ text }) => text);
  }

  const asDocumented = ({ out, err }: { out: string; err: string }) =>
    (out + err).replaceAll(server.url, "http://192.168.56.11:2379");

  test("print what the page shows", async () => {
    prefix = "/coreos.com/network";
    const etcd = client();
    const attach = async (key: string, value: string, ttlSeconds: number) => {
      const { id } = await etcd.grantLease({ ttlSeconds }, forever);
      const success = [{ put: { key: `${prefix}/${key}`, value, lease: id } }];
      await etcd.transaction({ compare: [], success }, forever);
    };
    const lease = (address: string) => `{"PublicIP":"${address}","BackendType":"vxlan"}`;
    await put("config", '{"Network": "10.5.0.0/16"}');
    await put("subnets/10.5.7.0-24", '{"PublicIP":"192.168.56.17"}');
    await attach("subnets/10.5.52.0-24", lease("192.168.56.11"), 86_390);
    await attach("subnets/10.5.81.0-24", lease("192.168.56.12"), 18_770);
    await attach("subnets/10.6.3.0-24", lease("192.168.56.19"), 31_250);
    await attach("sessions/192.168.56.11", '{"identity":"1","hostname":"node1"}', 600);
    expect([asDocumented(await run("leases"))]).toEqual(outputsOf("flanneld leases"));
    const reserve = "leases reserve 10.5.8.0/24 192.168.56.18";
    expect([asDocumented(await run(reserve))]).toEqual(outputsOf(`flanneld ${reserve}`));
    const [, refusal] = outputsOf("flanneld leases release 10.5.81.0/24");
    expect(asDocumented(await run("leases release 10.5.52.0/24"))).toBe(refusal as string);
    await etcd.transaction(
      { compare: [], success: [{ delete: { key: `${prefix}/subnets/10.6.3.0-24` } }] },
      forever,
    );
    const [shown = ""] = outputsOf("flanneld config show");
    const { err } = await run("config show");
    const withoutMtu = (text: string) => text.split("\n").slice(0, 2);
    expect(withoutMtu(asDocumented({ out: "", err }))).toEqual(withoutMtu(shown));
    const [mistakes = ""] = outputsOf("flanneld config check net-conf.json");
    const text = '{\n  "Network": "10.5.0.0/16",\n  "SubnetLen": 17,\n  "SubnetMn": "10.5.1.0",\n' +
      '  "Backend": {\n    "Type": "vxlan",\n    "MTU": "x"\n  }\n}\n';
    expect((await runProgram(["config", "check", "-"], text)).out)
      .toBe(mistakes.replaceAll("net-conf.json:", "standard input:"));
    const change = '{"Network": "10.5.0.0/16", "SubnetMin": "10.5.64.0"}';
    expect([asDocumented(await run("config set -", change))])
      .toEqual(outputsOf("flanneld config set net-conf.json"));
    await etcd[Symbol.asyncDispose]();
  });
});

/** The store's revision. */
async function revision(): Promise<bigint> {
  await using etcd = client();
  return (await etcd.range({ key: "x" }, forever)).revision;
}

/** The store, with another program that is faster: `before` runs before the first change. */
function racedStore(before: () => Promise<void>): NetworkStore {
  const etcd = client();
  let isFirst = true;
  const transaction: EtcdClient["transaction"] = async (request, signal) => {
    if (isFirst && request.success.some((one) => !("range" in one))) {
      isFirst = false;
      await before();
    }
    return await etcd.transaction(request, signal);
  };
  const raced = new Proxy(etcd, {
    get: (target, name) => {
      if (name === "transaction") return transaction;
      const member = Reflect.get(target, name);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  return {
    etcd: raced,
    records: new LeaseRecords(raced, prefix, collectingLog().log),
    description: "the store",
    [Symbol.asyncDispose]: () => etcd[Symbol.asyncDispose](),
  };
}

const reservation = (subnets: object, addresses: object) =>
  ({ subnets, addresses }) as Parameters<typeof reserveSubnet>[1];

describe("another program that is faster", () => {
  test("keeps the subnet that was to be reserved", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    const value = '{"PublicIP":"192.0.2.1","BackendType":"vxlan"}';
    await using store = racedStore(() => put("subnets/10.5.7.0-24", value));
    await expect(
      reserveSubnet(store, reservation({ 4: "10.5.7.0/24" }, { 4: "192.0.2.7" }), forever),
    ).rejects.toThrow("10.5.7.0/24 is reserved for 192.0.2.1");
    expect(await valueOf("subnets/10.5.7.0-24")).toBe(value);
  });

  test("keeps a subnet that overlaps it under another key; nothing remains", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}');
    const other = "10.5.8.0-24&fc00:0:0:7::-64";
    await using store = racedStore(() => put(`subnets/${other}`, '{"PublicIP":"192.0.2.1"}'));
    const wanted = reservation({ 4: "10.5.7.0/24", 6: "fc00:0:0:7::/64" }, { 4: "192.0.2.7" });
    await expect(reserveSubnet(store, wanted, forever)).rejects.toThrow(
      "is reserved for 192.0.2.1",
    );
    expect((await server.etcdctl("get", "--prefix", "--keys-only", `${prefix}/subnets/`)).trim())
      .toBe(`${prefix}/subnets/${other}`);
  });

  test("rewrites a lease that was to become a reservation: its value is kept", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    const etcd = client();
    const { id } = await etcd.grantLease({ ttlSeconds: 86_400 }, forever);
    const key = `${prefix}/subnets/10.5.7.0-24`;
    const write = async (mac: string) => {
      const value =
        `{"PublicIP":"192.0.2.7","BackendType":"vxlan","BackendData":{"VtepMAC":"${mac}"}}`;
      const success = [{ put: { key, value, lease: id } }];
      await etcd.transaction({ compare: [], success }, forever);
    };
    await write("02:00:00:00:00:01");
    await using store = racedStore(() => write("02:00:00:00:00:02"));
    await reserveSubnet(store, reservation({ 4: "10.5.7.0/24" }, { 4: "192.0.2.7" }), forever);
    const [found] = (await etcd.range({ key }, forever)).keyValues;
    expect(found).toMatchObject({ lease: 0n });
    expect(found?.value).toContain("02:00:00:00:00:02");
    await etcd[Symbol.asyncDispose]();
  });

  test("starts the node whose reservation was to be released: it keeps it", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16"}');
    await put("subnets/10.5.7.0-24", '{"PublicIP":"192.0.2.7","BackendType":"vxlan"}');
    await using nodes = new AsyncDisposableStack();
    await using store = racedStore(async () => {
      nodes.use(await node("node7", "192.0.2.7"));
    });
    await expect(releaseLease(store, { subnet: "10.5.7.0/24", force: false }, forever))
      .rejects.toThrow("is in use: the host node7 is alive");
    expect(await valueOf("subnets/10.5.7.0-24")).toContain("192.0.2.7");
  });

  test("takes the same subnet at the same time: one has it, and no two overlap", async () => {
    newPrefix();
    await put("config", '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}');
    const store = (): NetworkStore => racedStore(() => Promise.resolve());
    const done = await Promise.allSettled(
      Array.from({ length: 12 }, async (_, n) => {
        await using one = store();
        const subnets = { 4: `10.5.${1 + n % 3}.0/24`, 6: `fc00:0:0:${1 + n % 4}::/64` };
        await reserveSubnet(one, reservation(subnets, { 4: `192.0.2.${n + 1}` }), forever);
        return `${subnets[4].replace("/", "-")}&${subnets[6].replace("/", "-")}`;
      }),
    );
    const won = done.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
    const keys = (await server.etcdctl("get", "--prefix", "--keys-only", `${prefix}/subnets/`))
      .split("\n").filter(Boolean).map((key) => key.slice(`${prefix}/subnets/`.length));
    expect(keys.sort()).toEqual(won.sort());
    const halves = keys.flatMap((key) => key.split("&"));
    expect(new Set(halves).size).toBe(halves.length);
    for (const one of done) {
      if (one.status === "rejected") expect(one.reason).toBeInstanceOf(RefusedError);
    }
  });
});

/** The value of a key; empty if there is none. */
async function valueOf(key: string): Promise<string> {
  return (await server.etcdctl("get", "--print-value-only", `${prefix}/${key}`)).trimEnd();
}
