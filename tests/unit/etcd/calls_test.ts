/** Which member a call goes to, what is retried, and when it fails. */

import { beforeEach, describe, expect, test } from "bun:test";
import { Authentication } from "../../../src/etcd/client/authentication.ts";
import type { CallOptions } from "../../../src/etcd/client/grpc_call.ts";
import { type Attempt, Calls } from "../../../src/etcd/client/calls.ts";
import type { EtcdConnection } from "../../../src/etcd/client/etcd_connection.ts";
import { EtcdError } from "../../../src/etcd/client/etcd_error.ts";
import type { FailureKind, Symptom } from "../../../src/etcd/client/call_failure.ts";
import { Code, GrpcError } from "../../../src/etcd/client/grpc_error.ts";
import type { Transport } from "../../../src/etcd/client/grpc_transport.ts";
import { etcdMethods } from "../../../src/etcd/client/etcd_messages.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const READ = { operation: "read /net/a", repeatable: true };
const WRITE = { operation: "change /net/a", repeatable: false };

class FakeConnection {
  readonly endpoint;
  hasResponded = false;
  isDisposed = false;
  /** Why it cannot be opened. */
  fault: unknown;
  transport = {} as Transport;
  /** What else than an etcd is there. */
  answering: string | undefined;
  /** How often that was asked. */
  questions = 0;

  constructor(name: string, { secure = false, hasPort = true } = {}) {
    const url = `${secure ? "https" : "http"}://${name}:2379`;
    this.endpoint = { url, secure, host: name, port: 2379, hasPort };
  }

  probe(signal: AbortSignal): Promise<string | undefined> {
    expect(signal).toBe(stop.signal);
    this.questions++;
    return Promise.resolve(this.answering);
  }

  /** Whether the change concerns this one. */
  networkChanged(addresses: ReadonlySet<unknown>): Promise<boolean> {
    return Promise.resolve(addresses.has(this.endpoint.host));
  }

  open(): Promise<Transport> {
    if (this.fault !== undefined) return Promise.reject(this.fault);
    return Promise.resolve(this.transport);
  }

  [Symbol.dispose](): void {
    this.isDisposed = true;
  }
}

let clock: FakeClock;
let members: FakeConnection[];
/** The members that were asked, and when. */
let asked: string[];
/** The error of an attempt at each member. */
let faults: Map<string, unknown>;
let stop: AbortController;

beforeEach(() => {
  clock = new FakeClock(() => 0);
  members = ["a", "b", "c"].map((name) => new FakeConnection(name));
  asked = [];
  faults = new Map();
  stop = new AbortController();
});

function calls(credentials?: { username: string; password: string }): Calls {
  return new Calls({
    connections: members as unknown as EtcdConnection[],
    credentials,
    clock,
    timing: { attemptMs: 5000, retryForMs: 3000 },
  });
}

const beginMs = new FakeClock().nowMs();

function attempt({ connection }: Attempt): Promise<string> {
  const { host } = connection.endpoint;
  asked.push(`${host}@${clock.nowMs() - beginMs}`);
  const fault = faults.get(host);
  return fault === undefined ? Promise.resolve(`answer of ${host}`) : Promise.reject(fault);
}

/** The outcome when time has passed. */
async function outcome(promise: Promise<unknown>, ms = 60_000): Promise<unknown> {
  const settled = promise.then((value) => value, (error) => error);
  await clock.advance(ms);
  return await settled;
}

function failing(kind: FailureKind, reason: string = kind, symptom?: Symptom): EtcdError {
  return new EtcdError(reason, { kind, reason, symptom });
}

function run(on: Calls, call = READ): Promise<string> {
  return on.run({ ...call, signal: stop.signal }, attempt);
}

describe("Calls", () => {
  test("asks one member, chosen by chance at first, and stays with it", async () => {
    const on = calls();
    expect(await run(on)).toBe("answer of a");
    expect(await run(on)).toBe("answer of a");
    clock.random = () => 0.999;
    expect(await run(calls())).toBe("answer of c");
    expect(asked).toEqual(["a@0", "a@0", "c@0"]);
    expect(members.map(({ hasResponded }) => hasResponded)).toEqual([true, false, true]);
  });

  test("tries the next member at once, and stays with the one that answers", async () => {
    const on = calls();
    faults.set("a", failing("interrupted"));
    faults.set("b", failing("busy"));
    expect(await outcome(run(on), 0)).toBe("answer of c");
    expect(asked).toEqual(["a@0", "b@0", "c@0"]);
    faults.clear();
    await run(on);
    expect(asked.at(-1)).toBe("c@0");
    expect(members[0]?.hasResponded).toBe(false);
  });

  test("pauses after each round, longer each time, and stops after three seconds", async () => {
    for (const { endpoint: { host } } of members) faults.set(host, failing("unsent"));
    const error = await outcome(run(calls()));
    expect(String(error)).toBe("EtcdError: cannot read /net/a in etcd: unsent");
    const rounds = [0, 100, 300, 700, 1500, 2500];
    expect(asked).toEqual(rounds.flatMap((at) => [`a@${at}`, `b@${at}`, `c@${at}`]));
  });

  test("asks every member once, however late it is", async () => {
    const slow = (context: Attempt) => {
      const answer = attempt(context).catch(async (error) => {
        await new Promise<void>((resolve) => void clock.setTimer(5000, resolve));
        throw error;
      });
      return answer;
    };
    for (const { endpoint: { host } } of members) faults.set(host, failing("interrupted"));
    const error = await outcome(calls().run({ ...READ, signal: stop.signal }, slow));
    expect(error).toBeInstanceOf(EtcdError);
    expect(asked).toEqual(["a@0", "b@5000", "c@10000"]);
  });

  test("still pauses and tries again at the limit of three seconds", async () => {
    members = members.slice(0, 1);
    clock.random = () => 0;
    let pauses = 0;
    const late = async (context: Attempt) => {
      // Together with the pause of 100 ms it is exactly at the limit, then past it.
      if (pauses++ === 0) await new Promise<void>((r) => void clock.setTimer(2900, () => r()));
      return await attempt(context);
    };
    faults.set("a", failing("unsent"));
    await outcome(calls().run({ ...READ, signal: stop.signal }, late));
    expect(asked).toEqual(["a@2900", "a@3000"]);
  });

  test.each<[FailureKind, number]>([["unsent", 2], ["busy", 2], ["interrupted", 1]])(
    "repeats a change after a failure of the kind %s only if nothing was done (%d attempts)",
    async (kind, attempts) => {
      faults.set("a", failing(kind));
      const result = await outcome(run(calls(), WRITE));
      expect(asked).toHaveLength(attempts);
      if (attempts === 2) expect(result).toBe("answer of b");
      else expect(String(result)).toContain("cannot change /net/a in etcd: interrupted");
    },
  );

  test.each<FailureKind>(["refused", "token"])("does not repeat what is %s", async (kind) => {
    const on = calls();
    faults.set("a", failing(kind));
    expect(await outcome(run(on))).toMatchObject({ kind });
    expect(asked).toHaveLength(1);
    // A refusal does not count against the member.
    await outcome(run(on));
    expect(asked.at(-1)).toStartWith(kind === "refused" ? "a" : "b");
  });

  test("throws at once what is a fault of the program", async () => {
    const fault = new TypeError("a bug");
    const on = calls();
    const result = on.run({ ...READ, signal: stop.signal }, () => {
      throw fault;
    });
    expect(await outcome(result)).toMatchObject({ kind: "interrupted", cause: fault });
  });

  test("ends with the signal's reason, in an attempt, in a pause, and before one", async () => {
    const reason = new Error("the daemon ends");
    members = members.slice(0, 1);
    faults.set("a", failing("unsent"));
    const result = run(calls());
    await clock.advance(50);
    stop.abort(reason);
    expect(await outcome(result)).toBe(reason);
    expect(asked).toEqual(["a@0"]);
    expect(await outcome(run(calls()))).toBe(reason);
    expect(asked).toEqual(["a@0"]);
  });

  test("does not move on from a member that another call has moved on from already", async () => {
    const on = calls();
    faults.set("a", failing("unsent"));
    const both = Promise.all([run(on), run(on)]);
    expect(await outcome(both)).toEqual(["answer of b", "answer of b"]);
    on.avoid(members[0] as unknown as EtcdConnection);
    expect(await run(on)).toBe("answer of b");
    on.avoid(members[1] as unknown as EtcdConnection);
    on.avoid(members[2] as unknown as EtcdConnection);
    faults.clear();
    expect(await run(on)).toBe("answer of a");
  });

  test("sends the header by which a member without a leader answers at once", async () => {
    const options = await calls().run(
      { ...READ, signal: stop.signal },
      ({ header, timeoutMs }) => Promise.resolve({ header, timeoutMs }),
    );
    expect(options).toEqual({ header: { hasleader: "true" }, timeoutMs: 5000 });
  });

  test("has a guess why a server that never answered closes the connection", async () => {
    const closed = () => new GrpcError("http/2 stream closed with error", Code.Unavailable);
    const reset = () => Object.assign(new Error("x"), { code: "ECONNRESET" });
    const reasonOf = async (secure: boolean, fault: unknown, hasResponded = false) => {
      members = [new FakeConnection("a", { secure })];
      (members[0] as FakeConnection).hasResponded = hasResponded;
      faults.set("a", fault);
      return (await outcome(run(calls(), WRITE)) as EtcdError).reason;
    };
    const useHttps = "if etcd serves TLS, write the endpoint with https://";
    expect(await reasonOf(false, closed())).toBe(`connection closed: ${useHttps}`);
    expect(await reasonOf(false, reset())).toBe(`connection reset: ${useHttps}`);
    expect(await reasonOf(true, closed())).toBe(
      "connection closed: does the server accept our TLS certificate? " +
        "check --etcd-certfile and --etcd-keyfile",
    );
    expect(await reasonOf(false, closed(), true)).toBe("connection closed");
    expect(await reasonOf(false, new GrpcError("other", Code.Unavailable))).toBe("other");
  });

  test.each([
    [
      "127.0.0.1",
      ": does etcd run on this host? If it runs elsewhere, name it with --etcd-endpoints",
    ],
    ["::1", ": does etcd run on this host? If it runs elsewhere, name it with --etcd-endpoints"],
    [
      "192.0.2.5",
      ": does etcd run there, and does it listen on this address and not only on 127.0.0.1? " +
      "Or is that host down, or is there no route to it (ip route get 192.0.2.5)?",
    ],
    [
      "etcd.example",
      ": does etcd run there, and does it listen on this address and not only on 127.0.0.1? " +
      "Or is that host down, or is there no route to it?",
    ],
  ])("has a guess why %s refuses a connection, until it has answered", async (name, guess) => {
    const member = new FakeConnection(name);
    members = [member];
    faults.set(name, failing("unsent", "connection refused", "refused"));
    const reason = async () => (await outcome(run(calls(), WRITE)) as EtcdError).reason;
    expect(await reason()).toBe(`connection refused${guess}`);
    member.hasResponded = true;
    expect(await reason()).toBe("connection refused");
  });

  test("asks whether a name resolves where no connection comes about in time", async () => {
    const reasonOf = async (name: string) => {
      members = [new FakeConnection(name)];
      faults.set(name, failing("unsent", "no connection in time", "no connection"));
      return (await outcome(run(calls(), WRITE)) as EtcdError).reason;
    };
    expect(await reasonOf("192.0.2.5")).toBe("no connection in time");
    expect(await reasonOf("etcd.example")).toBe(
      "no connection in time: does the name resolve (getent hosts etcd.example), and does a " +
        "firewall drop packets to port 2379?",
    );
  });

  test("says what answers in etcd's place, and that the endpoint has no port", async () => {
    const member = new FakeConnection("a", { hasPort: false });
    members = [member];
    const reasonOf = async (text: string) => {
      faults.set("a", new GrpcError(text, Code.Unavailable));
      return (await outcome(run(calls(), WRITE)) as EtcdError).reason;
    };
    const noPort =
      "; the endpoint has no port, so port 2379 was tried: etcd listens on 2379, write " +
      "http://a:2379";
    member.answering = "a web server";
    for (const text of ["Protocol error", "h2 is not supported", "HTTP 404"]) {
      expect(await reasonOf(text)).toBe(`a web server${noPort}`);
    }
    expect(member.questions).toBe(3);
    // An error of etcd's own needs no probe.
    expect(await reasonOf("etcdserver: no leader")).toBe(`no leader${noPort}`);
    expect(member.questions).toBe(3);
    member.answering = undefined;
    expect(await reasonOf("HTTP 404")).toStartWith("HTTP 404: a web server or proxy answers there");
    member.hasResponded = true;
    expect(await reasonOf("Protocol error")).toBe("Protocol error");
    expect(member.questions).toBe(4);
  });

  test("writes an IPv6 address with its brackets where a port is missing", async () => {
    members = [new FakeConnection("fd00::1", { secure: true, hasPort: false })];
    faults.set("fd00::1", new GrpcError("http/2 stream closed with error", Code.Unavailable));
    expect((await outcome(run(calls(), WRITE)) as EtcdError).reason).toEndWith(
      "etcd listens on 2379, write https://[fd00::1]:2379",
    );
  });

  test.each(["HTTP 404", "unsupported content-type text/html"])(
    "takes %j for the answer of a web server or proxy",
    async (reason) => {
      members = members.slice(0, 1);
      faults.set("a", failing("refused", reason, "no gRPC"));
      expect((await outcome(run(calls())) as EtcdError).reason).toBe(
        `${reason}: a web server or proxy answers there, not etcd`,
      );
    },
  );

  test("ends a pause only if the network changes for one of the members", async () => {
    const on = calls();
    let ended: boolean | undefined;
    void on.pause(1000, stop.signal).then((early) => ended = early);
    await on.networkChanged(new Set(["elsewhere"]) as never);
    await clock.advance(10);
    expect(ended).toBeUndefined();
    await on.networkChanged(new Set(["b"]) as never);
    await clock.advance(0);
    expect(ended).toBe(true);
    void on.pause(1000, stop.signal).then((early) => ended = early);
    await clock.advance(999);
    expect(ended).toBe(true);
    await clock.advance(1);
    expect(ended).toBe(false);
  });

  test("closes all connections, and says what is wrong where there are none", async () => {
    calls()[Symbol.dispose]();
    expect(members.every(({ isDisposed }) => isDisposed)).toBe(true);
    members = [];
    expect(String(await outcome(run(calls())))).toBe("RangeError: there is no etcd endpoint");
  });
});

/** A member that exchanges a password for the tokens t1, t2, … */
function authenticating(member: FakeConnection, refuse?: () => GrpcError | undefined): string[] {
  const seen: string[] = [];
  member.transport = {
    unary: (
      method: unknown,
      { name, password }: { name: string; password: string },
      { header }: CallOptions,
    ) => {
      expect(method).toBe(etcdMethods.authenticate);
      seen.push(`${name}:${password}:${header["hasleader"]}`);
      const refusal = refuse?.();
      if (refusal !== undefined) return Promise.reject(refusal);
      return Promise.resolve({ token: `t${seen.length}` });
    },
  } as unknown as Transport;
  return seen;
}

describe("Calls, with a user,", () => {
  const user = { username: "root", password: "geheim" };
  const tokens: (string | null)[] = [];

  beforeEach(() => {
    tokens.length = 0;
    members = members.slice(0, 1);
  });

  function withToken(fails: (token: string | null) => unknown) {
    return ({ header }: Attempt): Promise<string> => {
      const token = header["token"] ?? null;
      tokens.push(token);
      const fault = fails(token);
      return fault === undefined ? Promise.resolve("done") : Promise.reject(fault);
    };
  }

  const invalid = () => new GrpcError("etcdserver: invalid auth token", Code.Unauthenticated);

  test("asks for a token once, and sends it with each call", async () => {
    const seen = authenticating(members[0] as FakeConnection);
    const on = calls(user);
    const call = { ...READ, signal: stop.signal };
    await Promise.all([1, 2].map(() => on.run(call, withToken(() => undefined))));
    await on.run(call, withToken(() => undefined));
    expect(seen).toEqual(["root:geheim:true"]);
    expect(tokens).toEqual(["t1", "t1", "t1"]);
  });

  test.each([
    ["no longer valid", invalid],
    [
      "refused in the words of an old etcd",
      () => new GrpcError("etcdserver: permission denied", Code.PermissionDenied),
    ],
  ])("asks for another token when one is %s, once", async (_what, fault) => {
    const seen = authenticating(members[0] as FakeConnection);
    const on = calls(user);
    const call = { ...WRITE, signal: stop.signal };
    await on.run(call, withToken((token) => token === "t1" ? fault() : undefined));
    expect(tokens).toEqual(["t1", "t2"]);
    const failure = await outcome(on.run(call, withToken(fault)));
    expect(failure).toBeInstanceOf(EtcdError);
    expect(tokens).toEqual(["t1", "t2", "t2", "t3"]);
    expect(seen).toHaveLength(3);
  });

  test("does not try again without a user", async () => {
    const call = { ...WRITE, signal: stop.signal };
    expect(await outcome(calls().run(call, withToken(invalid)))).toMatchObject({ kind: "token" });
    expect(tokens).toEqual([null]);
  });

  test("sends no token where etcd has authentication switched off", async () => {
    authenticating(
      members[0] as FakeConnection,
      () => new GrpcError("etcdserver: authentication is not enabled", Code.FailedPrecondition),
    );
    await calls(user).run({ ...READ, signal: stop.signal }, withToken(() => undefined));
    expect(tokens).toEqual([null]);
  });

  test("takes a lost answer to the request for a token for a call that was not sent", async () => {
    let times = 0;
    const seen = authenticating(
      members[0] as FakeConnection,
      () => ++times === 1 ? new GrpcError("gone", Code.Unavailable) : undefined,
    );
    const done = calls(user).run({ ...WRITE, signal: stop.signal }, withToken(() => undefined));
    expect(await outcome(done)).toBe("done");
    expect(seen).toHaveLength(2);
    expect(tokens).toEqual(["t2"]);
  });

  test("says that the password is wrong, and does not try again", async () => {
    const seen = authenticating(
      members[0] as FakeConnection,
      () =>
        new GrpcError(
          "etcdserver: authentication failed, invalid user ID or password",
          Code.InvalidArgument,
        ),
    );
    const failure = calls(user).run({ ...READ, signal: stop.signal }, withToken(() => undefined));
    expect(await outcome(failure)).toMatchObject({
      kind: "refused",
      reason: expect.stringContaining("check --etcd-username"),
    });
    expect(seen).toHaveLength(1);
  });
});

describe("Authentication", () => {
  test("keeps a newer token when an older one is refused", async () => {
    const member = new FakeConnection("a");
    const seen = authenticating(member);
    const authentication = new Authentication({ username: "root", password: "geheim" });
    const token = () => authentication.token(member.transport, 1000);
    expect(await token()).toBe("t1");
    authentication.forget("t1");
    expect(await token()).toBe("t2");
    authentication.forget("t1");
    expect(await token()).toBe("t2");
    expect(seen).toHaveLength(2);
  });

  test.each([
    [Code.FailedPrecondition, "etcdserver: something else"],
    [Code.Unavailable, "etcdserver: authentication is not enabled"],
  ])("takes code %d with %j for no switched off authentication", async (code, text) => {
    const member = new FakeConnection("a");
    authenticating(member, () => new GrpcError(text, code));
    const authentication = new Authentication({ username: "root", password: "geheim" });
    await expect(authentication.token(member.transport, 1000)).rejects.toThrow(text);
  });
});
