import { Code, ConnectError } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { systemClock } from "../../../src/base/clock.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { ConfigError } from "../../../src/config/config_error.ts";
import { EtcdClient, type EtcdClientOptions } from "../../../src/etcd/client/etcd_client.ts";
import { parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import { EtcdError } from "../../../src/etcd/client/etcd_error.ts";
import { etcdKeyRange } from "../../../src/etcd/client/request_messages.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { ScriptedEtcd, scriptedKeyValue } from "../../support/scripted_etcd.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

function urls(texts: readonly string[], defaultScheme: "http" | "https" = "http"): string[] {
  return parseEndpoints(texts, { defaultScheme }).map(({ url }) => url);
}

test("endpoints are taken as origins, each once, in the given order", () => {
  expect(urls(["http://b:2379", " http://a:4001/ ", "http://b:2379/", "https://[fd00::1]:2379/x"]))
    .toEqual(["http://b:2379", "http://a:4001", "https://[fd00::1]:2379"]);
});

test("an endpoint has a host and a port, etcd's or that of its scheme", () => {
  const of = (text: string) => parseEndpoints([text], { defaultScheme: "http" })[0];
  expect(of("https://[fd00:12::1]:2379/x")).toEqual({
    url: "https://[fd00:12::1]:2379",
    secure: true,
    host: "fd00:12::1",
    port: 2379,
    hasPort: true,
  });
  expect(of("http://a.example")).toMatchObject({ secure: false, port: 80, hasPort: false });
  expect(of("https://a.example/")).toMatchObject({ secure: true, port: 443, hasPort: false });
  expect(of("http://a.example:80/x:2379")).toMatchObject({
    host: "a.example",
    port: 80,
    hasPort: true,
  });
  for (const rest of ["/x:2379", "?x:2379", "#x:2379"]) {
    expect(of(`http://a.example${rest}`)).toMatchObject({ hasPort: false });
  }
  expect(of("http://[fd00:12::1]")).toMatchObject({ host: "fd00:12::1", hasPort: false });
  expect(of("10.0.0.5:2379")).toMatchObject({ host: "10.0.0.5", port: 2379, hasPort: true });
});

test("an endpoint without a scheme is https when there are TLS files, else http", () => {
  expect(urls(["10.0.0.5:2379", " localhost:2379 "])).toEqual([
    "http://10.0.0.5:2379",
    "http://localhost:2379",
  ]);
  expect(urls(["10.0.0.5:2379"], "https")).toEqual(["https://10.0.0.5:2379"]);
});

test("an endpoint that cannot be used is refused in one line that shows it", () => {
  const cases: [string, string][] = [
    ["http://10.0.0.5:99999", "is not a URL"],
    ["http://", "is not a URL"],
    ["", "is not a URL"],
    ["unix:///run/etcd.sock", "has the scheme unix: use http or https"],
    ["ftp://10.0.0.5:2379", "has the scheme ftp: use http or https"],
  ];
  for (const [text, reason] of cases) {
    const error = thrownBy(() => urls([text]));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain(`etcd endpoint "${text}"`);
    expect(String(error)).toContain(reason);
    expect(String(error)).not.toContain("\n");
  }
  expect(String(thrownBy(() => urls([])))).toContain("set --etcd-endpoints");
});

test("a password in an endpoint is refused and not shown", () => {
  for (
    const text of [
      "http://user:geheim@10.0.0.5:2379",
      "user:geheim@10.0.0.5:2379",
      "http://user:geheim@10.0.0.5:99999",
      "ftp://user:geheim@10.0.0.5:2379",
      "http://user:ge@heim@10.0.0.5:2379",
    ]
  ) {
    const error = thrownBy(() => urls([text]));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).not.toContain("heim");
  }
  const shown = (text: string) => String(thrownBy(() => urls([text])));
  expect(shown("http://user:geheim@10.0.0.5:2379/a@b")).toContain(
    'etcd endpoint "http://…@10.0.0.5:2379/a@b" contains a user',
  );
  expect(shown("user:geheim@10.0.0.5:2379")).toContain(
    'etcd endpoint "…@10.0.0.5:2379" contains a user',
  );
  expect(shown("http://geheim@10.0.0.5:2379")).toContain('"http://…@10.0.0.5:2379" contains');
  expect(shown("http://:geheim@10.0.0.5:2379")).toContain('"http://…@10.0.0.5:2379" contains');
});

test("a client certificate without its key, and a key without its certificate, are refused", () => {
  const { log } = collectingLog();
  const create = (tls: NonNullable<EtcdClientOptions["tls"]>) => () =>
    new EtcdClient({ clock: systemClock, endpoints: ["https://10.0.0.5:2379"], tls, log });
  const certOnly = thrownBy(create({ certFile: "/a.crt", keyFile: "" }));
  expect(certOnly).toBeInstanceOf(ConfigError);
  expect(String(certOnly)).toContain("--etcd-certfile is given without --etcd-keyfile");
  const keyOnly = thrownBy(create({ keyFile: "/a.key" }));
  expect(String(keyOnly)).toContain("--etcd-keyfile is given without --etcd-certfile");
});

test("the description lists the endpoints and nothing else", () => {
  const { log } = collectingLog();
  const client = new EtcdClient({
    clock: systemClock,
    endpoints: ["http://10.0.0.5:2379", "http://10.0.0.6:2379"],
    username: "root",
    password: "geheim",
    log,
  });
  expect(client.description).toBe("http://10.0.0.5:2379, http://10.0.0.6:2379");
  const tls = { caFile: "/ca", certFile: "", keyFile: undefined };
  expect(new EtcdClient({ clock: systemClock, endpoints: ["10.0.0.5:2379"], tls, log }).description)
    .toBe(
      "https://10.0.0.5:2379",
    );
});

test("the range of a prefix holds exactly the keys that begin with it", () => {
  const utf8 = (text: string) => new TextEncoder().encode(text);
  const isInRange = (key: Uint8Array, range: ReturnType<typeof etcdKeyRange>) =>
    Buffer.compare(key, range.key) >= 0 &&
    (Buffer.compare(range.rangeEnd, Buffer.from([0])) === 0 ||
      Buffer.compare(key, range.rangeEnd) < 0);
  const text = fc.string({ unit: "grapheme", maxLength: 6 });
  fc.assert(fc.property(text, text, (prefix, other) => {
    const range = etcdKeyRange({ key: prefix, prefix: true });
    for (const key of [prefix + other, other, other + prefix]) {
      if (key === "") continue; // etcd has no empty key
      expect(isInRange(utf8(key), range)).toBe(Buffer.from(key).indexOf(prefix) === 0);
    }
  }));
});

describe("a client", () => {
  const forever = new AbortController().signal;
  const { log } = collectingLog();
  let etcd: ScriptedEtcd;
  let client: EtcdClient;

  beforeEach(async () => {
    etcd = await ScriptedEtcd.start();
    client = create();
  });
  afterEach(async () => {
    await client[Symbol.asyncDispose]();
    await etcd[Symbol.asyncDispose]();
  });

  function create(options: Partial<EtcdClientOptions> = {}): EtcdClient {
    return new EtcdClient({
      clock: systemClock,
      endpoints: [etcd.url],
      log,
      timing: { retryForMs: 0 },
      ...options,
    });
  }

  async function failure(promise: Promise<unknown>): Promise<EtcdError> {
    const error = await promise.then(() => undefined, (error) => error);
    if (!(error instanceof EtcdError)) throw new Error(`an EtcdError is due, not ${error}`);
    return error;
  }

  const unavailable = () => {
    throw new ConnectError("gone", Code.Unavailable);
  };

  test("reads keys with the store's revision, and nothing else of the answer", async () => {
    const kv = scriptedKeyValue("/net/a", { modRevision: 3n, value: "x" });
    etcd.keyValues = [kv];
    const expected = { ...kv, key: "/net/a", value: "x", lease: 0n };
    expect(await client.range({ key: "/net/a" }, forever)).toEqual({
      keyValues: [expected],
      revision: 10n,
    });
    const changed = await client.transaction({
      compare: [],
      success: [{ put: { key: "/net/a", value: "" } }, { range: { key: "/net/a" } }],
    }, forever);
    expect(changed).toEqual({ succeeded: true, revision: 11n, ranges: [[], [expected]] });
  });

  test("watches from the snapshot on, in the cluster that it is of", async () => {
    const events = client.watch("/net/", forever)[Symbol.asyncIterator]();
    expect(await events.next()).toMatchObject({ value: { kind: "snapshot", revision: 10n } });
    const event = events.next();
    while (etcd.calls.watch === 0) await Bun.sleep(5);
    etcd.put("/net/a");
    expect(await event).toMatchObject({ value: { keyValue: { key: "/net/a" } } });
    expect(etcd.calls.range).toBe(1);
  });

  test("grants, renews, asks about and revokes a lease", async () => {
    expect(await client.grantLease({ ttlSeconds: 60 }, forever)).toEqual({
      id: 77n,
      ttlSeconds: 60,
    });
    expect(await client.grantLease({ id: 5n, ttlSeconds: 90 }, forever)).toEqual({
      id: 5n,
      ttlSeconds: 90,
    });
    expect(await client.keepLeaseAlive(5n, forever)).toBe(60);
    expect(await client.leaseTimeToLive(5n, forever)).toEqual({
      remainingSeconds: 50,
      grantedSeconds: 60,
    });
    const revoked: bigint[] = [];
    etcd.script = { revoke: (id) => void revoked.push(id) };
    await client.revokeLease(5n, forever);
    expect(revoked).toEqual([5n]);
  });

  test("takes a lease that is gone for revoked, and no other failure", async () => {
    let refusal = new ConnectError("etcdserver: requested lease not found", Code.NotFound);
    etcd.script = {
      revoke: () => {
        throw refusal;
      },
    };
    await client.revokeLease(5n, forever);
    refusal = new ConnectError("etcdserver: permission denied", Code.PermissionDenied);
    expect((await failure(client.revokeLease(5n, forever))).kind).toBe("refused");
    const reason = new Error("requested lease not found");
    const stopped = client.revokeLease(5n, AbortSignal.abort(reason));
    expect(await stopped.then(() => undefined, (error) => error)).toBe(reason);
  });

  test("names in a failure what it was about to do", async () => {
    const fails = { range: unavailable, txn: unavailable, grant: unavailable };
    const leases = { keepAlive: unavailable, timeToLive: unavailable, revoke: unavailable };
    etcd.script = { ...fails, ...leases };
    const put = (key: string) => ({ put: { key, value: "" } });
    const of = async (promise: Promise<unknown>) =>
      (await failure(promise)).message.replace(` in etcd: gone (${etcd.url})`, "");
    const doubt = "; it may have been carried out";
    const compare = { compare: [] };
    expect(await of(client.range({ key: "/a" }, forever))).toBe("cannot read /a");
    expect(await of(client.range({ key: "/a", prefix: true }, forever))).toBe("cannot read /a*");
    expect(await of(client.transaction({ ...compare, success: [put("/a")] }, forever))).toBe(
      `cannot change /a${doubt}`,
    );
    const several = {
      ...compare,
      success: [put("/a"), { delete: { key: "/b" } }, put("/a")],
      failure: [{ range: { key: "/c" } }, { delete: { key: "/d" } }],
    };
    expect(await of(client.transaction(several, forever))).toBe(
      `cannot change /a, /b, /d${doubt}`,
    );
    expect(await of(client.grantLease({ ttlSeconds: 60 }, forever))).toBe("cannot grant a lease");
    expect(await of(client.grantLease({ id: 5n, ttlSeconds: 60 }, forever))).toBe(
      `cannot grant a lease${doubt}`,
    );
    expect(await of(client.keepLeaseAlive(0xabn, forever))).toBe("cannot renew the lease ab");
    expect(await of(client.leaseTimeToLive(0xabn, forever))).toBe("cannot read the lease ab");
    expect(await of(client.revokeLease(0xabn, forever))).toBe("cannot revoke the lease ab");
  });

  test("does again what is the same done twice, and nothing else", async () => {
    const clock = new FakeClock(() => 0);
    client = create({ clock, timing: { retryForMs: 1_000 } });
    /** How often it is called when the first response is missing. */
    const times = async (call: () => Promise<unknown>) => {
      let count = 0;
      const once = <T>(answer: T): T => ++count === 1 ? unavailable() : answer;
      const leases = { grant: once, keepAlive: once, timeToLive: once, revoke: once };
      etcd.script = { range: once, txn: once, ...leases };
      let isOver = false;
      const end = () => isOver = true;
      void call().then(end, end);
      for (; !isOver; await Bun.sleep(1)) await clock.advance(10);
      return count;
    };
    const success = [{ put: { key: "/a", value: "" } }];
    expect(await times(() => client.range({ key: "/a" }, forever))).toBe(2);
    expect(await times(() => client.transaction({ compare: [], success }, forever))).toBe(1);
    const reading = { compare: [], success: [{ range: { key: "/a" } }] };
    expect(await times(() => client.transaction(reading, forever))).toBe(2);
    expect(await times(() => client.grantLease({ ttlSeconds: 60 }, forever))).toBe(2);
    expect(await times(() => client.grantLease({ id: 5n, ttlSeconds: 60 }, forever))).toBe(1);
    expect(await times(() => client.keepLeaseAlive(5n, forever))).toBe(2);
    expect(await times(() => client.leaseTimeToLive(5n, forever))).toBe(2);
    expect(await times(() => client.revokeLease(5n, forever))).toBe(2);
  });

  test("ends each call with its signal", async () => {
    const reason = new Error("ended");
    const signal = AbortSignal.abort(reason);
    const success = [{ put: { key: "/a", value: "" } }];
    for (
      const call of [
        () => client.range({ key: "/a" }, signal),
        () => client.transaction({ compare: [], success }, signal),
        () => client.grantLease({ ttlSeconds: 60 }, signal),
        () => client.keepLeaseAlive(5n, signal),
        () => client.leaseTimeToLive(5n, signal),
        () => client.revokeLease(5n, signal),
      ]
    ) expect(await call().then(() => undefined, (error) => error)).toBe(reason);
    for await (const event of client.watch("/net/", signal)) throw new Error(`got ${event.kind}`);
    expect(etcd.calls).toEqual({ range: 0, txn: 0, watch: 0 });
  });

  test("ends its calls and watches when it is closed, and makes no more", async () => {
    const events = client.watch("/net/", forever)[Symbol.asyncIterator]();
    await events.next();
    const event = events.next();
    while (etcd.calls.watch === 0) await Bun.sleep(5);
    await client[Symbol.asyncDispose]();
    expect(await event).toEqual({ value: undefined, done: true });
    expect(await failure(client.range({ key: "/a" }, forever))).toMatchObject({
      kind: "unsent",
      reason: "closed",
      message: "the etcd client is closed",
    });
  });

  test("asks for a token only if it has a user", async () => {
    for (
      const user of [
        { username: "root", password: "geheim" },
        { username: "guest" },
        { username: "", password: "geheim" },
      ]
    ) {
      await using client = create(user);
      await client.range({ key: "/a" }, forever);
    }
    expect(etcd.logins).toEqual(["root:geheim", "guest:"]);
  });

  test("waits for an answer as long as it is set up to", async () => {
    client = create({ timing: { retryForMs: 0, attemptMs: 50 } });
    const stuck = new Promise<never>(() => {});
    etcd.script = { range: () => stuck as never };
    expect(await failure(client.range({ key: "/a" }, forever))).toMatchObject({
      kind: "interrupted",
      reason: "no response in time",
    });
  });

  test("notices by its PINGs that the network is lost", async () => {
    await using proxy = await TcpProxy.start(etcd.port);
    const timing = { retryForMs: 0, attemptMs: 500, pingIntervalMs: 20, pingTimeoutMs: 500 };
    const { log, records } = collectingLog();
    client = create({ endpoints: [proxy.url], timing, log });
    const events = client.watch("/net/", forever)[Symbol.asyncIterator]();
    await events.next();
    const event = events.next();
    while (etcd.calls.watch === 0) await Bun.sleep(5);
    proxy.silence();
    while (records.length === 0) await Bun.sleep(5);
    proxy.restore(); // For new connections.
    while (etcd.calls.watch === 1) await Bun.sleep(5);
    etcd.put("/net/a");
    expect(await event).toMatchObject({ value: { keyValue: { key: "/net/a" } } });
    await client[Symbol.asyncDispose]();
  });

  test("looks at its connections when the network changes, if it knows the host", async () => {
    await client.networkChanged();
    const address = "127.0.0.1" as IpAddress;
    let addresses = new Set([address]);
    const asked: IpAddress[] = [];
    client = create({
      host: {
        addresses: () => Promise.resolve(addresses),
        egressRoute: (to) => {
          asked.push(to);
          return Promise.resolve({ link: "lo" });
        },
      },
    });
    const events = client.watch("/net/", forever)[Symbol.asyncIterator]();
    await events.next();
    const event = events.next();
    while (etcd.calls.watch === 0) await Bun.sleep(5);
    await client.networkChanged();
    expect(new Set(asked)).toEqual(addresses);
    addresses = new Set(["192.0.2.7" as IpAddress]);
    await client.networkChanged();
    while (etcd.calls.watch === 1) await Bun.sleep(5);
    etcd.put("/net/a");
    expect(await event).toMatchObject({ value: { keyValue: { key: "/net/a" } } });
  });
});
