/** The client with a charon that misbehaves; tests/netns uses a real one. */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../../../src/base/clock.ts";
import { CharonError } from "../../../../src/backend/ipsec/charon_error.ts";
import { Vici } from "../../../../src/backend/ipsec/vici.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { type ViciHandler, ViciServer } from "../../../support/vici_server.ts";

const directory = mkdtempSync(join(tmpdir(), "vici-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

let sockets = 0;

async function connected(
  handle: ViciHandler,
  clock: Clock = systemClock,
): Promise<Disposable & { vici: Vici }> {
  const path = join(directory, String(sockets++));
  const server = new ViciServer(path, handle);
  const vici = await Vici.connect(path, clock);
  return {
    vici,
    [Symbol.dispose]: () => {
      vici[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

async function failure(promise: Promise<unknown>): Promise<CharonError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof CharonError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

test("each of several simultaneous requests gets its own response", async () => {
  using pair = await connected(({ command }) => ({ command }));
  const names = Array.from({ length: 50 }, (_, i) => `command-${i}`);
  const responses = await Promise.all(names.map((name) => pair.vici.request(name)));
  expect(responses.map(({ command }) => command)).toEqual(names);
});

test("a message larger than a socket's buffer arrives whole", async () => {
  using pair = await connected(({ message }) => ({ size: String(message["list"]?.length) }));
  const list = Array.from({ length: 50 }, () => "x".repeat(8000));
  expect((await pair.vici.request("big", { list }))["size"]).toBe("50");
});

test("a list consists of events, and events of other names do not disturb it", async () => {
  using pair = await connected(({ command, event }) => {
    if (command !== "list-sas") return "unknown";
    for (const n of ["1", "2", "3"]) {
      event("child-updown", { n });
      event("list-sa", { n });
    }
    return {};
  });
  const received: unknown[] = [];
  await pair.vici.subscribe("child-updown", ({ n }) => received.push(n));
  const entries = await pair.vici.list("list-sas", "list-sa");
  expect(entries.map(({ n }) => n)).toEqual(["1", "2", "3"]);
  expect(received).toEqual(["1", "2", "3"]);
});

test("a refusal contains charon's reason, and the connection stays open", async () => {
  using pair = await connected(({ command }) =>
    command === "load-conn" ? { success: "no", errmsg: "invalid value for: encap" } : {}
  );
  const error = await failure(pair.vici.command("load-conn", { secret: "hidden" }));
  expect(error.message).toBe("charon refused load-conn: invalid value for: encap");
  expect([error.fault, error.command]).toEqual(["refused", "load-conn"]);
  expect(await pair.vici.request("version")).toEqual(Object.create(null));
});

test("a command that an old charon does not have counts as refused", async () => {
  using pair = await connected(() => "unknown");
  expect(await failure(pair.vici.request("get-shared"))).toMatchObject({
    message: "this charon does not support get-shared",
    fault: "refused",
  });
});

test("a missing response ends the connection: it could come late", async () => {
  const clock = new FakeClock();
  using pair = await connected(() => undefined, clock);
  const failing = failure(pair.vici.request("version", {}, { timeoutMs: 3000 }));
  await clock.advance(2999);
  expect(await Promise.race([failing, "waiting"])).toBe("waiting");
  await clock.advance(1);
  const error = await failing;
  expect(error.message).toBe("charon did not respond to version within 3 s");
  expect([error.fault, error.command]).toEqual(["timeout", "version"]);
  await pair.vici.closed;
  expect((await failure(pair.vici.request("version"))).message).toBe(error.message);
});

test("when charon closes the connection, waiting and later requests fail", async () => {
  using pair = await connected(({ hangUp }) => (hangUp(), undefined));
  const errors = await Promise.all([
    failure(pair.vici.request("version")),
    failure(pair.vici.request("version")),
  ]);
  expect(errors.map(({ fault }) => fault)).toEqual(["closed", "closed"]);
  await pair.vici.closed;
});

test("an invalid message ends the connection with an error that says so", async () => {
  using pair = await connected(({ raw }) => (raw(Buffer.from([0, 0, 0, 1, 99])), undefined));
  const error = await failure(pair.vici.request("version"));
  expect(error.fault).toBe("protocol");
  expect(error.message).toBe("cannot read a message of charon: unknown packet 99");
});

test("a path without a socket is an error that names it", async () => {
  const path = join(directory, "none");
  const error = await failure(Vici.connect(path, systemClock));
  expect(error.fault).toBe("unreachable");
  expect(error.message).toBe(`cannot connect to charon at ${path}: there is no such socket`);
});
