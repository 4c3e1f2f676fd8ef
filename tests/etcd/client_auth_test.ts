import { afterAll, beforeAll, expect, test } from "bun:test";
import { EtcdClient, type EtcdClientOptions } from "../../src/etcd/client/etcd_client.ts";
import type { EtcdWatch } from "../../src/etcd/client/etcd.ts";
import { EtcdError } from "../../src/etcd/client/etcd_error.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { runProgram } from "../support/program.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { eventually } from "../support/wait.ts";

const PASSWORD = "correct horse battery staple";
const forever = new AbortController().signal;
const root = ["--user", `root:${PASSWORD}`];
let server: EtcdServer;

beforeAll(async () => {
  // Tokens that are not used for two seconds expire.
  server = await EtcdServer.start({ flags: ["--auth-token-ttl=2"] });
  await server.etcdctl("user", "add", `root:${PASSWORD}`);
  await server.etcdctl("user", "grant-role", "root", "root");
  await server.etcdctl("user", "add", `flannel:${PASSWORD}`);
  await server.etcdctl("role", "add", "flannel");
  await server.etcdctl(
    "role",
    "grant-permission",
    "flannel",
    "--prefix=true",
    "readwrite",
    "/net/",
  );
  await server.etcdctl("user", "grant-role", "flannel", "flannel");
  await server.etcdctl("auth", "enable");
});

afterAll(() => server[Symbol.asyncDispose]());

function newClient(options: Partial<EtcdClientOptions> = {}) {
  const { log, records } = collectingLog();
  const client = new EtcdClient({
    clock: systemClock,
    endpoints: [server.url],
    username: "flannel",
    password: PASSWORD,
    log,
    ...options,
  });
  return { client, records };
}

async function failure(promise: Promise<unknown>): Promise<EtcdError> {
  const error = await promise.then(() => undefined, (error) => error);
  if (!(error instanceof EtcdError)) throw new Error(`an EtcdError is due, not ${error}`);
  return error;
}

function put(client: EtcdClient, key: string): Promise<unknown> {
  return client.transaction({ compare: [], success: [{ put: { key, value: "" } }] }, forever);
}

async function nextEvent(events: AsyncIterator<EtcdWatch>): Promise<EtcdWatch> {
  const { value, done } = await events.next();
  if (done) throw new Error("the watch has ended");
  return value;
}

test("user and password open the keys that the user's role allows, and no others", async () => {
  const { client } = newClient();
  await using _ = client;
  await put(client, "/net/a");
  const error = await failure(put(client, "/elsewhere"));
  expect(error.message).toContain("cannot change /elsewhere in etcd: permission denied");
  expect(error.message).toContain("role grant-permission");
});

test("an expired token is replaced, for reads, changes and leases", async () => {
  const { client } = newClient();
  await using _ = client;
  const { id } = await client.grantLease({ ttlSeconds: 60 }, forever);
  for (
    const call of [
      () => put(client, "/net/b"),
      () => client.range({ key: "/net/b" }, forever),
      () => client.keepLeaseAlive(id, forever),
      () => client.leaseTimeToLive(id, forever),
    ]
  ) {
    await Bun.sleep(3_500);
    await call();
  }
}, 90_000);

test("a watch outlives its token, and a cut after the token has expired", async () => {
  await using proxy = await TcpProxy.start(server.port);
  const { client } = newClient({ endpoints: [proxy.url] });
  await using _ = client;
  const { client: writer } = newClient();
  await using __ = writer;
  const events = client.watch("/net/watched/", forever)[Symbol.asyncIterator]();
  await nextEvent(events);
  for (const number of [1, 2]) {
    const event = nextEvent(events);
    await Bun.sleep(3_500);
    if (number === 2) proxy.cut();
    await put(writer, `/net/watched/${number}`);
    expect(await event).toMatchObject({ kind: "put", keyValue: { key: `/net/watched/${number}` } });
  }
}, 90_000);

test("a member that was restarted knows no tokens, and gets a new one", async () => {
  const { client } = newClient();
  await using _ = client;
  await put(client, "/net/c");
  await server.stop();
  await server.start();
  await put(client, "/net/c");
}, 90_000);

test("changed rights make old tokens stale, and the next call uses a new one", async () => {
  const { client } = newClient();
  await using _ = client;
  await put(client, "/net/d");
  const grant = ["role", "grant-permission", "flannel", "--prefix=true", "readwrite", "/more/"];
  await server.etcdctl(...root, ...grant);
  await put(client, "/more/a");
});

test("a missing password differs from a wrong one, and the password is in no message", async () => {
  const { client: anonymous } = newClient({ username: "", password: "" });
  await using _ = anonymous;
  expect((await failure(put(anonymous, "/net/a"))).message).toContain("set --etcd-username");
  const { client: wrong, records } = newClient({ password: "wrong secret" });
  await using __ = wrong;
  const error = await failure(put(wrong, "/net/a"));
  expect(error.message).toContain("check --etcd-username and --etcd-password");
  const events = wrong.watch("/net/", forever)[Symbol.asyncIterator]();
  const pending = events.next();
  while (records.length === 0) await Bun.sleep(20);
  await wrong[Symbol.asyncDispose]();
  await pending;
  expect(JSON.stringify(records)).not.toContain("wrong secret");
  expect(Bun.inspect(error)).not.toContain("wrong secret");
  expect(Bun.inspect(wrong)).not.toContain("wrong secret");
});

test("a watch without permission says what to do, once, and works once it is granted", async () => {
  // The pause after a refusal, without its 20 s.
  const clock: Clock = {
    ...systemClock,
    random: () => 0,
    setTimer: (delayMs, callback) => systemClock.setTimer(Math.min(delayMs, 300), callback),
  };
  const { client, records } = newClient({ clock });
  await using _ = client;
  const first = client.watch("/granted/", forever)[Symbol.asyncIterator]().next();
  await eventually("it is refused", 20_000, () => records.length > 0);
  await Bun.sleep(2_000); // some more attempts
  expect(records.map(({ level }) => level)).toEqual(["error"]);
  expect(records[0]?.msg).toContain("watching /granted/ in etcd failed");
  expect(records[0]?.msg).toContain("grant the user a role");
  const grant = ["role", "grant-permission", "flannel", "--prefix=true", "readwrite", "/granted/"];
  await server.etcdctl(...root, ...grant);
  expect(await first).toMatchObject({ value: { kind: "snapshot" } });
}, 90_000);

test("a password for an etcd without users does no harm", async () => {
  await using open = await EtcdServer.start();
  const { client } = newClient({ endpoints: [open.url] });
  await using _ = client;
  await put(client, "/net/a");
  await put(client, "/net/a");
  expect((await open.callCounts()).get("Authenticate")).toBe(1);
});

test("a role with what Go flannel needs lists leases without their hosts", async () => {
  const prefix = "/limited";
  await server.etcdctl(...root, "role", "add", "limited");
  for (const range of [["config"], ["--prefix=true", "subnets/"]]) {
    const key = `${prefix}/${range.at(-1)}`;
    const flags = [...range.slice(0, -1), "limited", "readwrite", key];
    await server.etcdctl(...root, "role", "grant-permission", ...flags);
  }
  await server.etcdctl(...root, "user", "add", `limited:${PASSWORD}`);
  await server.etcdctl(...root, "user", "grant-role", "limited", "limited");
  await server.etcdctl(...root, "put", `${prefix}/config`, '{"Network": "10.5.0.0/16"}');
  const flags = [
    `--etcd-endpoints=${server.url}`,
    `--etcd-prefix=${prefix}`,
    "--etcd-username=limited",
    `--etcd-password=${PASSWORD}`,
  ];
  const reserve = ["leases", "reserve", ...flags, "10.5.7.0/24", "192.0.2.7"];
  expect(await runProgram(reserve)).toMatchObject({ exitCode: 0, err: "" });
  const { exitCode, out, err } = await runProgram(["leases", "--json", ...flags]);
  expect(exitCode).toBe(0);
  expect(JSON.parse(out).leases).toMatchObject([{
    subnet: "10.5.7.0/24",
    alive: null,
    host: null,
  }]);
  expect(err).toBe(
    `hosts are unknown: etcd denies read access to ${prefix}/sessions/; grant the etcd role read ` +
      "access there\n",
  );
  // A release that cannot see whether the node is alive says so.
  const release = await runProgram(["leases", "release", ...flags, "10.5.7.0/24"]);
  expect(release).toMatchObject({ exitCode: 0, err: "" });
  const elsewhere = flags.with(1, "--etcd-prefix=/net");
  expect((await runProgram(["leases", ...elsewhere])).err)
    .toStartWith("flanneld leases: cannot read /net/config, /net/subnets/* in etcd: permission");
});
