/** Nodes that join a real datastore on loopback. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { callControl } from "../../../src/datastore/access/control_client.ts";
import {
  newDatastoreSecret,
  type PreparedAccess,
  preparedAccess,
} from "../../../src/datastore/access/prepared_access.ts";
import { Datastore } from "../../../src/datastore/datastore.ts";
import { EtcdClient } from "../../../src/etcd/client/etcd_client.ts";
import { joinDatastore, newUserName } from "../../../src/join/join_datastore.ts";
import { type JoinTarget, parseJoinTarget } from "../../../src/join/join_token.ts";
import type { NodeCredential } from "../../../src/join/node_credential.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { eventually } from "../../support/wait.ts";

let directory: string;
let stateFile: string;
let cleanup: AsyncDisposableStack;
const { log, records } = collectingLog();
const forever = new AbortController().signal;

beforeEach(() => {
  cleanup = new AsyncDisposableStack();
  directory = mkdtempSync("/dev/shm/join-test-");
  cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
  stateFile = join(directory, "state", "joined.json");
  records.length = 0;
});

afterEach(() => cleanup.disposeAsync());

interface StartOptions {
  readonly name?: string;
  readonly host?: string;
  readonly port?: number;
  /** How far its clock is off. */
  readonly clockOffMs?: number;
  readonly prepared?: PreparedAccess;
}

async function start(
  { name = "data", host = "127.0.0.1", port = 0, clockOffMs = 0, prepared }: StartOptions = {},
): Promise<Datastore> {
  return cleanup.use(
    await Datastore.start({
      directory: join(directory, name),
      host,
      port,
      progressNotifyMs: 600_000,
      clock: { ...systemClock, wallMs: () => systemClock.wallMs() + clockOffMs },
      log,
      tokens: () => ({ advertise: [], prepared }),
    }),
  );
}

function targetOf(text: string | undefined): JoinTarget {
  const target = parseJoinTarget(text ?? "");
  if ("problem" in target) throw new Error(target.problem);
  return target;
}

const lasting = ({ joinTarget }: Datastore) => targetOf(joinTarget);

/** Until `stop` aborts it; `waits` receives why it waits. */
function joinWith(
  target: JoinTarget,
  { stop = forever, waits = [] }: { stop?: AbortSignal; waits?: string[] } = {},
): Promise<NodeCredential> {
  const onWaiting = (reason: string) => waits.push(reason);
  return joinDatastore(target, { stateFile, clock: systemClock, log, signal: stop, onWaiting });
}

/** Why a node that tries to join waits. */
async function waitReason(target: JoinTarget): Promise<string> {
  const stop = new AbortController();
  const waits: string[] = [];
  const joining = joinWith(target, { stop: stop.signal, waits }).catch(() => undefined);
  await eventually("the node waits", 20_000, () => waits.length > 0);
  stop.abort();
  await joining;
  return waits[0] as string;
}

function clientOf({ endpoint, ca, username, password }: NodeCredential): EtcdClient {
  const tls = { texts: { ca: { text: ca, name: "the CA" } } };
  return cleanup.use(
    new EtcdClient({ endpoints: [endpoint], tls, username, password, clock: systemClock, log }),
  );
}

/** The message of the error with which it fails. */
function failureOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => "no failure", (error: Error) => error.message);
}

const put = (client: EtcdClient, key: string) =>
  client.transaction({ compare: [], success: [{ put: { key, value: "" } }] }, forever);

describe("a node", () => {
  test("joins, keeps its credential in a private file, and uses it from then on", async () => {
    const datastore = await start();
    const credential = await joinWith(lasting(datastore));
    await put(clientOf(credential), "/a");
    expect(statSync(stateFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(stateFile, "utf8")).not.toContain(lasting(datastore).token.secret);

    const calls = records.filter(({ msg }) => msg.includes("Auth/UserAdd")).length;
    expect(await joinWith(lasting(datastore))).toEqual(credential);
    expect(records.filter(({ msg }) => msg.includes("Auth/UserAdd"))).toHaveLength(calls);
    expect(await callControl(join(directory, "data"), "listUsers", null)).toEqual([
      expect.objectContaining({ name: credential.username, address: "127.0.0.1" }),
    ]);
  });

  test("waits for a datastore that is not there yet", async () => {
    const target = lasting(await start());
    await cleanup.disposeAsync();
    cleanup = new AsyncDisposableStack();
    directory = mkdtempSync("/dev/shm/join-test-");
    cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
    expect(await waitReason(target)).toStartWith(
      `connection to 127.0.0.1:${target.port} refused: does the datastore run there`,
    );
  });

  test("joins with a token that was made before the datastore's first start", async () => {
    const { secret, token } = newDatastoreSecret();
    const prepared = preparedAccess(secret);
    const datastore = await start({ prepared });
    await joinWith({ ...lasting(datastore), token });
    // What was prepared is for the first start: a token that was replaced stays invalid.
    await callControl(join(directory, "data"), "rotateToken", null);
    await datastore[Symbol.asyncDispose]();
    const ignored = () => records.filter(({ msg }) => msg.startsWith("ignoring the secret"));
    expect(ignored()).toEqual([]);
    const again = await start({ prepared });
    expect(ignored()).toHaveLength(1);
    expect(lasting(again).token.fingerprint).toBe(token.fingerprint);
    rmSync(stateFile);
    expect(await failureOf(joinWith({ ...lasting(again), token }))).toContain("is not valid");
  });

  test("cannot join with the token of a secret that another CA has made useless", async () => {
    await (await start())[Symbol.asyncDispose]();
    const { secret, token } = newDatastoreSecret();
    const datastore = await start({ prepared: preparedAccess(secret) });
    expect(records.map(({ msg }) => msg).join("\n")).toContain(
      `ignoring the secret ${token.id}: ${join(directory, "data")} has another CA, and nodes`,
    );
    expect(await waitReason({ ...lasting(datastore), token })).toContain("has another CA");
    await joinWith(lasting(datastore));
  });

  test("cannot join with a new secret in a directory that has lost only its CA", async () => {
    await (await start())[Symbol.asyncDispose]();
    for (const name of ["ca.crt", "ca.key"]) rmSync(join(directory, "data", name));
    const { secret, token } = newDatastoreSecret();
    const datastore = await start({ prepared: preparedAccess(secret) });
    expect(records.map(({ msg }) => msg).join("\n")).toContain(
      `ignoring the secret ${token.id}: its token was revoked, or access.json in ` +
        `${join(directory, "data")} is older, and nodes`,
    );
    expect(await failureOf(joinWith({ ...lasting(datastore), token }))).toContain("is not valid");
    await joinWith(lasting(datastore));
  });

  test("waits at a server with another CA, and joins when the right one is there", async () => {
    const other = await start({ name: "other" });
    const right = await start();
    const target = lasting(right);
    await right[Symbol.asyncDispose]();
    const swapped = { ...target, port: lasting(other).port };
    expect(await waitReason(swapped)).toStartWith(
      `the server at 127.0.0.1:${swapped.port} has another CA than the token`,
    );
    const joining = joinWith(swapped);
    await other[Symbol.asyncDispose]();
    await start({ port: swapped.port });
    expect((await joining).endpoint).toBe(`https://127.0.0.1:${swapped.port}`);
  });

  test("sends nothing to a server with another CA", async () => {
    const target = lasting(await start());
    const other = await start({ name: "other" });
    await waitReason({ ...target, port: lasting(other).port });
    expect(records.filter(({ msg }) => msg.startsWith("call "))).toEqual([]);
  });

  test("waits at a server without TLS", async () => {
    const target = lasting(await start());
    const plain = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    cleanup.defer(() => void plain.close());
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    const { port } = plain.address() as { port: number };
    expect(await waitReason({ ...target, port })).toStartWith(
      `the server at 127.0.0.1:${port} does not speak TLS`,
    );
  });

  test.each([
    [86_400_000, "the server's certificate is not valid yet; check the clocks of this host"],
    [-100 * 86_400_000, "the server's certificate has expired; check the clocks of this host"],
  ])("waits while the clocks differ by %d ms", async (clockOffMs, reason) => {
    expect(await waitReason(lasting(await start({ clockOffMs })))).toContain(reason);
  });

  test("waits while its address is not in the server's certificate", async () => {
    const target = lasting(await start({ host: "0.0.0.0" }));
    expect(await waitReason({ ...target, host: "127.0.0.2" })).toMatch(
      /the server's certificate is for another name: .*127\.0\.0\.2.*--advertise/,
    );
  });

  test("gives up with one line for a token that will never be valid", async () => {
    const datastore = await start();
    const data = join(directory, "data");
    const target = lasting(datastore);
    const wrong = { ...target.token, secret: Buffer.alloc(16).toString("base64url") };
    expect(await failureOf(joinWith({ ...target, token: wrong }))).toContain(
      `the token ${wrong.id} is not valid: it was revoked, or its datastore was set up again; ` +
        "take a new one with flanneld datastore token",
    );
    const token = { description: "", ttlSeconds: 1 };
    const short = targetOf((await callControl(data, "createToken", token)).targets[0]);
    await Bun.sleep(1_000);
    expect(await failureOf(joinWith(short))).toContain(
      `the token ${short.token.id} has expired; take`,
    );
    await callControl(data, "rotateToken", null);
    expect(await failureOf(joinWith(target))).toContain(
      `the token ${target.token.id} is not valid`,
    );
    expect(statSync(stateFile, { throwIfNoEntry: false })).toBeUndefined();
  });

  test("that is removed is cut off at once, and can join again with a valid token", async () => {
    const datastore = await start();
    const data = join(directory, "data");
    const credential = await joinWith(lasting(datastore));
    const client = clientOf(credential);
    const watch = client.watch("/", forever)[Symbol.asyncIterator]();
    await watch.next();
    await callControl(data, "removeUser", credential.username);
    expect(await failureOf(put(client, "/a"))).toContain("was removed, and has to join again");
    const next = await joinWith(lasting(datastore));
    expect(next.username).not.toBe(credential.username);
    await put(clientOf(next), "/a");
  });

  test("stays a member when its token is revoked", async () => {
    const datastore = await start();
    const target = lasting(datastore);
    const credential = await joinWith(target);
    await callControl(join(directory, "data"), "revokeToken", target.token.id);
    expect(await joinWith(target)).toEqual(credential);
    await put(clientOf(credential), "/a");
  });

  test("is not moved by the token of another datastore", async () => {
    await joinWith(lasting(await start()));
    const other = await start({ name: "other" });
    expect(await failureOf(joinWith(lasting(other)))).toMatch(
      /^the token is for another datastore than the one at https:.*remove .*joined\.json$/,
    );
  });

  test("follows the datastore to another address, and starts while it is down", async () => {
    const datastore = await start();
    const credential = await joinWith(lasting(datastore));
    await datastore[Symbol.asyncDispose]();
    const moved = await joinWith({ ...lasting(datastore), port: 2 });
    expect(moved).toEqual({ ...credential, endpoint: "https://127.0.0.1:2" });
    expect(JSON.parse(readFileSync(stateFile, "utf8"))).toEqual({ version: 1, ...moved });
  });

  test.each([
    ["{", "it is not JSON"],
    ["{}", "it is not what flanneld has written"],
    ['{"version":2,"endpoint":"","ca":"","username":"","password":""}', "it is not what"],
  ])("with the file %p ends with one line", async (content, problem) => {
    stateFile = join(directory, "joined.json");
    const target = lasting(await start());
    writeFileSync(stateFile, content, { mode: 0o600 });
    expect(await failureOf(joinWith(target))).toContain(
      `cannot use ${stateFile}, which was written when this node joined: ${problem}`,
    );
    chmodSync(stateFile, 0o644);
    expect(await failureOf(joinWith(target))).toContain("other users may read it; chmod 600");
  });

  test("that cannot keep its credential ends with one line", async () => {
    writeFileSync(join(directory, "state"), "");
    expect(await failureOf(joinWith(lasting(await start())))).toMatch(/^cannot (use|write) /);
  });
});

test("a token admits, and does nothing else", async () => {
  const { host, port, token } = lasting(await start());
  const credential = await joinWith({ host, port, token });
  const client = clientOf({
    ...credential,
    username: `token-${token.id}`,
    password: token.secret,
  });
  expect(await failureOf(client.range({ key: "/a" }, forever))).toContain("permission denied");
});

test("a node cannot add further users", async () => {
  const target = lasting(await start());
  const member = await joinWith(target);
  rmSync(stateFile);
  const asNode = {
    ...target,
    // As if its own user were a token.
    token: { ...target.token, id: member.username, secret: member.password },
  };
  expect(await failureOf(joinWith(asNode))).toContain("is not valid");
});

test.each([
  ["web-1.example.org", /^web-1\.example\.org-[0-9a-f]{8}$/],
  ["", /^node-[0-9a-f]{8}$/],
  ["token-1", /^node-token-1-[0-9a-f]{8}$/],
  ["_ö x", /^x-[0-9a-f]{8}$/],
  ["a".repeat(64), /^a{63}-[0-9a-f]{8}$/],
])("a host named %p becomes a user like %p", (host, pattern) => {
  expect(newUserName(host)).toMatch(pattern);
});
