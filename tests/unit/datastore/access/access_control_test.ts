import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AccessControl } from "../../../../src/datastore/access/access_control.ts";
import { matchesHash, secretHash } from "../../../../src/datastore/access/secret_hash.ts";
import type { Caller } from "../../../../src/datastore/access/auth_sessions.ts";
import type { JoinToken } from "../../../../src/join/join_token.ts";
import { tokenUserName } from "../../../../src/join/join_protocol.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

const ADDRESS = "192.0.2.7";
const PASSWORD = "a-password-of-32-characters-long";
const fingerprint = Buffer.alloc(32, 1).toString("base64url");

let directory: string;
let clock: FakeClock;
let log: ReturnType<typeof collectingLog>;
let control: AccessControl;

const open = () => AccessControl.open({ directory, fingerprint, clock, log: log.log });
const lasting = () => control.lastingToken as JoinToken;
const present = ({ id, secret }: JoinToken, address = ADDRESS) =>
  control.authenticate({ name: tokenUserName(id), password: secret }, address);
const user = (name: string, password = PASSWORD) => ({ name, password });

beforeEach(async () => {
  directory = mkdtempSync("/dev/shm/access-test-");
  clock = new FakeClock();
  log = collectingLog();
  control = await open();
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("tokens", () => {
  test("the lasting one is made once and kept over a restart", async () => {
    const token = lasting();
    expect(control.callerOf(present(token))).toEqual({ kind: "token", id: token.id });
    control = await open();
    expect(lasting()).toEqual(token);
    expect(control.callerOf(present(token))).toEqual({ kind: "token", id: token.id });
  });

  test("a rotation replaces it at once, and a revocation leaves none", async () => {
    const old = lasting();
    const session = present(old);
    const removed: Caller[] = [];
    control.onRemoved = (caller) => removed.push(caller);
    await control.rotateToken();
    expect(() => control.callerOf(session)).toThrow("etcdserver: invalid auth token");
    expect(() => present(old)).toThrow("authentication failed, invalid user ID or password");
    expect(removed).toEqual([{ kind: "token", id: old.id }]);
    const next = lasting();
    expect(next.id).not.toBe(old.id);
    expect(next.secret).not.toBe(old.secret);
    await control.revokeToken(next.id);
    expect(control.lastingToken).toBeUndefined();
    expect(() => present(next)).toThrow("authentication failed");
    control = await open();
    expect(control.tokens).toEqual([]);
  });

  test("one with a time to live is refused from then on, with the reason", async () => {
    const token = await control.createToken({ description: "three VMs", ttlSeconds: 60 });
    await clock.advance(59_999);
    present(token);
    await clock.advance(1);
    expect(() => present(token)).toThrow(
      "etcdserver: authentication failed, invalid user ID or password: the token has expired",
    );
    // The reason is for those who know the secret.
    expect(() => present({ ...token, secret: lasting().secret }))
      .toThrow(/invalid user ID or password$/);
    control = await open();
    expect(() => present(token)).toThrow("the token has expired");
  });

  test("expired ones are forgotten after a month", async () => {
    const token = await control.createToken({ description: "", ttlSeconds: 1 });
    await clock.advance(29 * 86_400_000);
    await control.createToken({ description: "", ttlSeconds: 1 });
    expect(control.tokens.map(({ id }) => id)).toContain(token.id);
    await clock.advance(2 * 86_400_000);
    await control.createToken({ description: "", ttlSeconds: 1 });
    expect(control.tokens.map(({ id }) => id)).not.toContain(token.id);
  });

  test("an unknown one cannot be revoked", () => {
    expect(control.revokeToken("abcdef")).rejects.toThrow("there is no token abcdef");
  });
});

describe("users", () => {
  test("a node that has joined remains when its token is revoked, over a restart too", async () => {
    await control.join(lasting().id, user("node-1"), ADDRESS);
    const session = control.authenticate(user("node-1"), ADDRESS);
    await control.revokeToken(lasting().id);
    expect(control.callerOf(session)).toEqual({ kind: "user", name: "node-1" });
    control = await open();
    control.authenticate(user("node-1"), ADDRESS);
  });

  test("joining again with the same password has no effect, with another it fails", async () => {
    await control.join(lasting().id, user("node-1"), ADDRESS);
    await control.join(lasting().id, user("node-1"), ADDRESS);
    expect(control.users).toHaveLength(1);
    const other = user("node-1", PASSWORD.toUpperCase());
    await expect(control.join(lasting().id, other, ADDRESS))
      .rejects.toThrow("etcdserver: user name already exists");
    control.authenticate(user("node-1"), ADDRESS);
  });

  test("a removed one is cut off at once, and its connections are reported", async () => {
    await control.join(lasting().id, user("node-1"), ADDRESS);
    await control.join(lasting().id, user("node-2"), ADDRESS);
    const sessions = ["node-1", "node-2"].map((name) => control.authenticate(user(name), ADDRESS));
    const removed: Caller[] = [];
    control.onRemoved = (caller) => removed.push(caller);
    await control.removeUser("node-1");
    expect(removed).toEqual([{ kind: "user", name: "node-1" }]);
    expect(() => control.callerOf(sessions[0])).toThrow("etcdserver: invalid auth token");
    expect(control.callerOf(sessions[1])).toEqual({ kind: "user", name: "node-2" });
    expect(() => control.authenticate(user("node-1"), ADDRESS)).toThrow("authentication failed");
    await expect(control.removeUser("node-1")).rejects.toThrow("there is no user node-1");
  });

  test.each([
    [user("token-abcdef")],
    [user("")],
    [user("a b")],
    [user("a:b")],
    [user(`a${"b".repeat(100)}`)],
    [user("node-1", "short")],
  ])("%j cannot join", async (credential) => {
    await expect(control.join(lasting().id, credential, ADDRESS))
      .rejects.toThrow("etcdserver: permission denied");
    expect(control.users).toEqual([]);
  });

  test("an operator's gets a password once", async () => {
    const credential = await control.addUser("backup");
    control.authenticate(credential, ADDRESS);
    await expect(control.addUser("backup")).rejects.toThrow("user backup exists");
    await expect(control.addUser("token-1")).rejects.toThrow('cannot add a user "token-1"');
  });

  test("many that join at once are all saved", async () => {
    const names = Array.from({ length: 200 }, (_, index) => `node-${index}`);
    await Promise.all(names.map((name) => control.join(lasting().id, user(name), ADDRESS)));
    control = await open();
    expect(control.users.map(({ name }) => name).sort()).toEqual(names.sort());
  });
});

describe("passwords", () => {
  test("an address with ten wrong ones has to wait, and others do not", async () => {
    for (let i = 0; i < 10; i++) {
      expect(() => control.authenticate(user("node-1"), ADDRESS)).toThrow("authentication failed");
    }
    expect(() => present(lasting())).toThrow("etcdserver: too many requests");
    present(lasting(), "192.0.2.8");
    await clock.advance(1_000);
    present(lasting());
  });

  test("right ones are never limited", () => {
    for (let i = 0; i < 1_000; i++) present(lasting());
  });

  test("neither they nor tokens are in the log, and only their hashes in the file", async () => {
    const token = await control.createToken({ description: "", ttlSeconds: 60 });
    await control.join(token.id, user("node-1"), ADDRESS);
    const session = present(token);
    const { password } = await control.addUser("backup");
    const file = readFileSync(join(directory, "access.json"), "utf8");
    const logged = log.records.map(({ msg }) => msg).join("\n");
    expect(logged).toContain(token.id);
    for (const secret of [token.secret, PASSWORD, session, password]) {
      expect(file).not.toContain(secret);
      expect(logged).not.toContain(secret);
    }
    expect(file).toContain(lasting().secret);
    expect(logged).not.toContain(lasting().secret);
    expect(statSync(join(directory, "access.json")).mode & 0o777).toBe(0o600);
  });

  test("only the same one matches a hash, and none matches the absence of a hash", () => {
    expect(matchesHash("a", secretHash("a"))).toBe(true);
    expect(matchesHash("b", secretHash("a"))).toBe(false);
    for (const hash of [undefined, "", "AAAA", "A".repeat(43)]) {
      expect(matchesHash("a", hash)).toBe(false);
      expect(matchesHash("", hash)).toBe(false);
    }
  });
});

describe("auth tokens", () => {
  test("expire five minutes after the last use, as in etcd", async () => {
    const session = present(lasting());
    for (let minute = 0; minute < 20; minute += 4) {
      await clock.advance(4 * 60_000);
      control.callerOf(session);
    }
    await clock.advance(5 * 60_000);
    expect(() => control.callerOf(session)).toThrow("etcdserver: invalid auth token");
  });

  test("have etcd's errors when they are missing or wrong", () => {
    expect(() => control.callerOf(undefined)).toThrow("etcdserver: user name is empty");
    expect(() => control.callerOf("")).toThrow("etcdserver: user name is empty");
    expect(() => control.callerOf("x")).toThrow("etcdserver: invalid auth token");
  });
});

describe("the file", () => {
  test.each(["{", "[]", "{}", '{"version":1,"tokens":[{}],"users":[]}', '{"version":2}'])(
    "with %s is reported, without its content, and not changed",
    async (content) => {
      const path = join(directory, "access.json");
      writeFileSync(path, content);
      await expect(open()).rejects.toThrow(`${path} is damaged`);
      expect(readFileSync(path, "utf8")).toBe(content);
    },
  );

  test("that cannot be written fails the change with one line", async () => {
    rmSync(directory, { recursive: true });
    await expect(control.createToken({ description: "", ttlSeconds: 1 }))
      .rejects.toThrow(/^cannot save the tokens and users: .*ENOENT/);
  });
});
