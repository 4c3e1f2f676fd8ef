/** The client against a charon that misbehaves; against the real one it is tried in tests/netns. */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Vici, ViciError } from "../../../../src/backend/ipsec/vici.ts";
import { type ViciHandler, ViciServer } from "../../../support/vici_server.ts";

const directory = mkdtempSync(join(tmpdir(), "vici-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

let sockets = 0;

async function connected(handle: ViciHandler): Promise<Disposable & { vici: Vici }> {
  const path = join(directory, String(sockets++));
  const server = new ViciServer(path, handle);
  const vici = await Vici.connect(path);
  return {
    vici,
    [Symbol.dispose]: () => {
      vici[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

async function failure(promise: Promise<unknown>): Promise<ViciError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ViciError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

test("requests that are made at once are answered each with its own response", async () => {
  using pair = await connected(({ command }) => ({ command }));
  const names = Array.from({ length: 50 }, (_, i) => `command-${i}`);
  const answers = await Promise.all(names.map((name) => pair.vici.request(name)));
  expect(answers.map(({ command }) => command)).toEqual(names);
});

test("a message larger than a socket's buffer arrives whole", async () => {
  using pair = await connected(({ message }) => ({ size: String(message["list"]?.length) }));
  const list = Array.from({ length: 50 }, () => "x".repeat(8000));
  expect((await pair.vici.request("big", { list }))["size"]).toBe("50");
});

test("entries come as events, those of other names among them", async () => {
  using pair = await connected(({ command, event }) => {
    if (command !== "list-sas") return "unknown";
    for (const n of ["1", "2", "3"]) {
      event("child-updown", { n });
      event("list-sa", { n });
    }
    return {};
  });
  const heard: unknown[] = [];
  await pair.vici.subscribe("child-updown", ({ n }) => heard.push(n));
  const entries = await pair.vici.list("list-sas", "list-sa");
  expect(entries.map(({ n }) => n)).toEqual(["1", "2", "3"]);
  expect(heard).toEqual(["1", "2", "3"]);
});

test("a refusal carries charon's reason, and the connection goes on", async () => {
  using pair = await connected(({ command }) =>
    command === "load-conn" ? { success: "no", errmsg: "invalid value for: encap" } : {}
  );
  const error = await failure(pair.vici.command("load-conn", { secret: "hidden" }));
  expect(error.message).toBe("charon: load-conn: invalid value for: encap");
  expect(error.isRefusal).toBe(true);
  expect(await pair.vici.request("version")).toEqual(Object.create(null));
});

test("a command that an old charon does not have is a refusal too", async () => {
  using pair = await connected(() => "unknown");
  expect(await failure(pair.vici.request("get-shared"))).toMatchObject({
    message: "charon: get-shared: this charon does not know it",
    isRefusal: true,
  });
});

test("no answer ends the connection: a late one would be taken for another's", async () => {
  using pair = await connected(() => undefined);
  const error = await failure(pair.vici.request("version", {}, 30));
  expect(error.message).toBe("charon: version: no answer within 30 ms");
  expect(error.isRefusal).toBe(false);
  await pair.vici.closed;
  expect((await failure(pair.vici.request("version"))).message).toBe(error.message);
});

test("a connection that charon closes fails what waits and what comes later", async () => {
  using pair = await connected(({ hangUp }) => (hangUp(), undefined));
  const errors = await Promise.all([
    failure(pair.vici.request("version")),
    failure(pair.vici.request("version")),
  ]);
  expect(errors.map(({ isRefusal }) => isRefusal)).toEqual([false, false]);
  await pair.vici.closed;
});

test("what is not understood ends the connection and says so", async () => {
  using pair = await connected(({ raw }) => (raw(Buffer.from([0, 0, 0, 1, 99])), undefined));
  const error = await failure(pair.vici.request("version"));
  expect(error.message).toBe(
    "charon: connection: it sends what is not understood: unknown packet 99",
  );
});

test("a path without a socket is an error that names it", async () => {
  const path = join(directory, "none");
  expect((await failure(Vici.connect(path))).message).toContain(`cannot connect to ${path}: `);
});
