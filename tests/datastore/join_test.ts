/** A datastore with tokens and nodes that join it, as programs in network namespaces. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type JoinTarget, joinTargetText, parseJoinTarget } from "../../src/join/join_token.ts";
import { spawnInNamespace } from "../../src/lab/namespace.ts";
import { Cluster } from "../support/cluster.ts";
import { Daemon, FLANNELD, type Host } from "../support/host.ts";
import { eventually } from "../support/wait.ts";

let cluster: Cluster;
let server: Daemon;
let hosts: readonly [Host, Host, Host];
/** The first host's, which the datastore runs on. */
let address: string;
let data: string;

beforeAll(async () => {
  cluster = await Cluster.create({ hosts: 3 });
  hosts = [cluster.host(1), cluster.host(2), cluster.host(3)];
  address = hosts[0].address(4);
  data = join(hosts[0].directory, "datastore");
  server = await startDatastore();
}, 120_000);

afterAll(() => cluster[Symbol.asyncDispose]());

async function startDatastore(): Promise<Daemon> {
  const flags = ["datastore", `--listen=${address}`, `--data-dir=${data}`];
  const started = run(hosts[0], [FLANNELD, ...flags, "--network=10.5.0.0/16"]);
  await eventually("the datastore serves", 60_000, () => started.log().includes("] ready; "));
  return started;
}

/** A program on a host, besides the host's daemon. */
function run(host: Host, command: readonly string[], env: Record<string, string> = {}): Daemon {
  const logFile = join(host.directory, `${crypto.randomUUID()}.log`);
  const runDirectory = join(host.directory, "run");
  const started = spawnInNamespace(host.station.namespace, { runDirectory, logFile, command, env });
  cluster.record.addProcess(started.pid);
  return new Daemon(started, logFile);
}

/** Runs `flanneld datastore token` or `user` next to the datastore. */
function control(command: string): Promise<string> {
  return hosts[0].sh(`${FLANNELD} datastore ${command} --data-dir=${data}`);
}

/** What follows `--join` in the output of a command. */
async function targetFrom(command: string): Promise<string> {
  const [, target = ""] = /^flanneld --join (\S+)\n$/.exec(await control(command)) ?? [];
  expect(parseJoinTarget(target)).toMatchObject({ host: address, port: 2379 });
  return target;
}

const readTarget = (text: string) => parseJoinTarget(text) as JoinTarget;
const stateOf = (host: Host) => join(host.directory, "joined.json");
const userOf = (host: Host): string =>
  (JSON.parse(readFileSync(stateOf(host), "utf8")) as { username: string }).username;

/** The flags that choose the store. */
const store = (host: Host, ...flags: string[]) => [`--join-state=${stateOf(host)}`, ...flags];

/** The exit status and the last line of a daemon that cannot start. */
async function failure(host: Host, flags: readonly string[]) {
  const daemon = run(host, [FLANNELD, "--subnet-file=/run/failure.env", ...flags]);
  const code = await daemon.exitCode();
  return { code, line: daemon.log().trimEnd().split("\n").at(-1) ?? "" };
}

/** Runs etcdctl on the second host; returns everything that it prints. */
async function etcdctl(user: string, args: string): Promise<string> {
  const flags = `--endpoints=${address}:2379 --cacert=${join(data, "ca.crt")}`;
  return await hosts[1].sh(
    `ETCDCTL_API=3 etcdctl ${flags} ${user === "" ? "" : `--user=${user}`} ${args} 2>&1 || true`,
  );
}

/** A user for etcdctl, as NAME:PASSWORD. */
async function addUser(name: string): Promise<string> {
  const [, password] = /^FLANNELD_ETCD_PASSWORD=(\S+)$/m.exec(await control(`user add ${name}`)) ??
    [];
  return `${name}:${password}`;
}

/** The local ends of a daemon's connections to the datastore. */
async function connectionsOf(host: Host): Promise<string> {
  const { pid } = host.daemon;
  const text = await host.sh(`ss -Htnp state established dport = :2379 | grep pid=${pid}, || true`);
  return text.split("\n").map((line) => line.split(/\s+/)[2]).filter(Boolean).sort().join();
}

/** The names in the certificate that the datastore presents to new connections. */
function certifiedNames(): Promise<string> {
  return hosts[1].sh(
    `openssl s_client -connect ${address}:2379 -alpn h2 </dev/null 2>/dev/null | ` +
      "openssl x509 -noout -ext subjectAltName",
  );
}

describe("nodes with a token", () => {
  test("join by a flag, a variable or a file, and form a network", async () => {
    const target = await targetFrom("token");
    const [one, two, three] = hosts;
    const file = join(three.directory, "token");
    one.start({ store: store(one, `--join=${target}`) });
    two.start({ store: store(two), env: { FLANNELD_JOIN: target } });
    three.start({ store: store(three, `--join-file=${file}`) });
    await eventually(
      "the third host waits for its file",
      30_000,
      () => three.daemon.log().includes(`waiting for --join-file ${file}`),
    );
    writeFileSync(file, `${target}\n`, { mode: 0o400 });
    for (const host of hosts) await host.ready();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const leases = await one.sh(`${FLANNELD} leases --json --join-state=${stateOf(one)}`);
    expect(JSON.parse(leases).leases).toMatchObject(
      Array.from({ length: 3 }, () => ({ kind: "lease", alive: true, ignored: null })),
    );
    rmSync(file);

    const users = (await control("user list")).trimEnd().split("\n");
    expect(users).toHaveLength(4);
    const { id, secret } = readTarget(target).token;
    for (const host of hosts) {
      expect(statSync(stateOf(host)).mode & 0o777).toBe(0o600);
      expect(users).toContainEqual(expect.stringContaining(userOf(host)));
      expect(users).toContainEqual(
        expect.stringMatching(new RegExp(`^${userOf(host)} .* ${id} +${host.address(4)}$`)),
      );
    }
    const body = target.split("@")[0]?.split(".")[2] as string;
    const seen = await two.sh("ps -eo args") + server.log() +
      hosts.map((host) => host.daemon.log()).join("");
    // Only the command line of the first host has it.
    expect(seen.replace(`--join=${target}`, "")).not.toContain(body);
    expect(seen).not.toContain(secret);
  }, 120_000);

  test("start again without it, while another one of this datastore changes nothing", async () => {
    const [one, two, three] = hosts;
    const users = hosts.map(userOf);
    const subnets = hosts.map((host) => host.subnetText());
    for (const host of hosts) await host.daemon.stop();
    one.start({ store: store(one) });
    two.start({ store: store(two, `--join=${await targetFrom("token create --ttl=1h")}`) });
    // Its file was removed.
    three.start({ store: store(three, "--join-file=/nonexistent") });
    for (const host of hosts) await host.ready();
    expect(hosts.map(userOf)).toEqual(users);
    expect(hosts.map((host) => host.subnetText())).toEqual(subnets);
    await cluster.expectMesh();
  }, 120_000);

  test("continue when the datastore was restarted", async () => {
    const user = await addUser("restart");
    await server.stop();
    server = await startDatastore();
    await eventually("all nodes have connected again", 30_000, async () => {
      const connections = await Promise.all(hosts.map(connectionsOf));
      return connections.every((text) => text !== "");
    });
    const [one] = hosts;
    const [, subnet] = /FLANNEL_SUBNET=(.*)\.1\/24/.exec(one.subnetText()) ?? [];
    const key = `/coreos.com/network/subnets/${subnet}.0-24`;
    expect(await etcdctl(user, `del ${key}`)).toBe("1\n");
    await eventually(
      "the node writes its lease again",
      30_000,
      async () => (await etcdctl(user, `get --keys-only ${key}`)).includes(key),
    );
    await cluster.expectMesh();
  }, 120_000);
});

describe("a client", () => {
  test("needs a password and the CA, as in etcd", async () => {
    const user = await addUser("backup");
    expect(await etcdctl(user, "put /a b")).toBe("OK\n");
    expect(await etcdctl("", "get /a")).toContain("etcdserver: user name is empty");
    expect(await etcdctl(`${user}x`, "get /a"))
      .toContain("etcdserver: authentication failed, invalid user ID or password");
    const { id, secret } = readTarget(await targetFrom("token")).token;
    expect(await etcdctl(`token-${id}:${secret}`, "get /a"))
      .toContain("etcdserver: permission denied");
    const insecure = `--endpoints=${address}:2379 --user=${user} get /a`;
    expect(await hosts[1].sh(`ETCDCTL_API=3 etcdctl ${insecure} 2>&1 || true`)).not.toContain(
      "b\n",
    );
    for (const command of ["endpoint health", "member list", "lease grant 10"]) {
      expect(await etcdctl(user, command)).not.toContain("rror");
    }
  }, 120_000);

  test("exports with the variables that user add prints", async () => {
    const variables = await control("user add export");
    const exported = await hosts[1].sh(
      `set -a\n${variables}set +a\n${FLANNELD} datastore export`,
    );
    expect(exported).toContain("10.5.0.0/16");
  }, 60_000);
});

describe("a node that cannot join", () => {
  test("ends with one line if its token will never be valid", async () => {
    const [, two] = hosts;
    const target = await targetFrom("token");
    const { token, ...where } = readTarget(target);
    const flags = (text: string) => [
      `--join=${text}`,
      `--join-state=${join(two.directory, "never.json")}`,
    ];
    expect(await failure(two, flags(target.slice(0, 50)))).toEqual({
      code: 2,
      line: expect.stringMatching(
        /^flanneld: --join must be TOKEN@HOST\[:PORT\], .*; the token is truncated; see/,
      ),
    });
    const wrong = { ...token, secret: Buffer.alloc(16, 1).toString("base64url") };
    const gone = await targetFrom("token create");
    await control(`token revoke ${readTarget(gone).token.id}`);
    const short = await targetFrom("token create --ttl=1s");
    await Bun.sleep(1_100);
    for (
      const [text, problem] of [
        [joinTargetText({ ...where, token: wrong }), "is not valid: it was revoked, or its"],
        [gone, "is not valid: it was revoked, or its"],
        [short, "has expired; take a new one with flanneld datastore token"],
      ] as const
    ) {
      const { code, line } = await failure(two, flags(text));
      expect([code, line]).toEqual([
        1,
        expect.stringContaining(`the token ${readTarget(text).token.id} ${problem}`),
      ]);
      expect(line).not.toContain(text.slice(10, 40));
    }
  }, 120_000);

  test("keeps to its datastore when it gets the token of another one", async () => {
    const { token, ...where } = readTarget(await targetFrom("token"));
    const other = { ...token, fingerprint: Buffer.alloc(32, 1).toString("base64url") };
    const [, , three] = hosts;
    const flag = `--join=${joinTargetText({ ...where, token: other })}`;
    const { code, line } = await failure(three, store(three, flag));
    expect([code, line]).toEqual([
      1,
      expect.stringContaining(
        `the token is for another datastore than the one at https://${address}:2379`,
      ),
    ]);
  }, 60_000);

  test("waits at a server with another CA, and says so once", async () => {
    const { token, ...where } = readTarget(await targetFrom("token"));
    const other = { ...token, fingerprint: Buffer.alloc(32, 1).toString("base64url") };
    const [, two] = hosts;
    const text = joinTargetText({ ...where, token: other });
    const waiting = run(two, [
      FLANNELD,
      `--join=${text}`,
      `--join-state=${join(two.directory, "waiting.json")}`,
      "--subnet-file=/run/waiting.env",
    ]);
    const lines = () => waiting.logLines(/another CA/);
    await eventually("it waits", 30_000, () => lines().length > 0);
    await Bun.sleep(3_000);
    expect(lines()).toEqual([expect.stringContaining(
      `joining https://${address}:2379 failed: the server at ${address}:2379 has another CA than ` +
        "the token",
    )]);
    expect((await waiting.stop()).code).toBe(0);
  }, 60_000);
});

describe("while nodes are connected", () => {
  test("rotating and revoking tokens affects none, and removing one cuts it off", async () => {
    const user = await addUser("operator");
    const before = await Promise.all(hosts.map(connectionsOf));
    expect(before).not.toContain("");
    const old = await targetFrom("token");
    const next = await targetFrom("token rotate");
    expect(readTarget(next).token.id).not.toBe(readTarget(old).token.id);
    await control(`token revoke ${readTarget(next).token.id}`);
    expect(await Promise.all(hosts.map(connectionsOf))).toEqual(before);

    const [one, two, three] = hosts;
    await control(`user remove ${userOf(three)}`);
    await eventually(
      "the third node is refused",
      30_000,
      () => three.daemon.log().includes("invalid user ID or password"),
    );
    expect(await Promise.all([one, two].map(connectionsOf))).toEqual(before.slice(0, 2));
    expect(await etcdctl(user, "get /coreos.com/network/config")).toContain("10.5.0.0/16");
    // Its packets continue to flow until its lease is deleted or expires.
    await cluster.expectMesh();

    await three.daemon.stop();
    const again = await targetFrom("token create --ttl=1h");
    three.start({ store: store(three, `--join=${again}`) });
    await three.ready();
    expect(three.daemon.log()).toContain("; joining again");
    await cluster.expectMesh();
  }, 120_000);

  test("a new address is in the certificate, and no connection and no watch is cut", async () => {
    const user = await addUser("watcher");
    const [one, two] = hosts;
    const access = [`--cacert=${join(data, "ca.crt")}`, `--user=${user}`];
    const command = ["etcdctl", `--endpoints=${address}:2379`, ...access, "watch", "/renewal"];
    const watch = run(two, command, { ETCDCTL_API: "3" });
    await eventually("the watch is established", 30_000, async () => {
      await etcdctl(user, "put /renewal before");
      return watch.log().includes("before");
    });
    const socket = await two.sh(`ss -Htnp dport = :2379 | grep pid=${watch.pid},`);
    const before = await Promise.all(hosts.map(connectionsOf));
    expect(before).not.toContain("");
    expect(await certifiedNames()).not.toContain("192.0.2.200");
    await one.sh("ip address add 192.0.2.200/32 dev lo");
    await eventually(
      "the certificate has the address",
      30_000,
      async () => (await certifiedNames()).includes("192.0.2.200"),
    );
    await etcdctl(user, "put /renewal after");
    await eventually(
      "the watch continues",
      10_000,
      () => watch.log().includes("after"),
    );
    expect(await two.sh(`ss -Htnp dport = :2379 | grep pid=${watch.pid},`)).toBe(socket);
    expect(await Promise.all(hosts.map(connectionsOf))).toEqual(before);
    await watch.stop();
  }, 120_000);
});
