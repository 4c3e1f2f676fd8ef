import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { newDatastoreSecret } from "../../../src/datastore/access/prepared_access.ts";
import { DatastoreError } from "../../../src/datastore/mvcc/datastore_error.ts";
import { serveDatastore, type ServeOptions } from "../../../src/datastore/serve.ts";
import { parseListenAddress } from "../../../src/datastore/listen_address.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { eventually } from "../../support/wait.ts";

/** Damages the file as a faulty disk would. */
function damage(file: string, text: string): void {
  const content = readFileSync(file);
  for (let at = content.indexOf(text); at >= 0; at = content.indexOf(text, at + 1)) {
    content.write("X", at);
  }
  writeFileSync(file, content);
}

test("the log never contains the configuration, which may include a PSK", async () => {
  const directory = mkdtempSync("/dev/shm/datastore-test-");
  using cleanup = new DisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  const lines: string[] = [];
  for (const psk of ["first-secret", "second-secret", "third-secret"]) {
    if (psk === "third-secret") damage(join(directory, "datastore.sqlite"), "first-secret");
    const initial = { key: "/net/config", value: JSON.stringify({ Backend: { PSK: psk } }) };
    lines.push(...await logOf({ directory, initial }));
  }
  expect(lines.filter((line) => line.includes("/net/config"))).toEqual([
    "wrote the network's configuration to /net/config",
    "keeping the configuration in /net/config, which differs from the flags; change it with " +
    "etcdctl put",
    expect.stringContaining('key "/net/config" of revision 2 in '),
    "/net/config is damaged and was not changed; write it again with etcdctl put",
  ]);
  expect(lines.join("\n")).not.toContain("secret");
});

test("a secret requires tokens, also on loopback and in a directory that was open", async () => {
  const directory = mkdtempSync("/dev/shm/datastore-test-");
  using cleanup = new DisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  const ready: (string | undefined)[] = [];
  for (const secret of [undefined, newDatastoreSecret().secret]) {
    const lines = await logOf({ directory, secret });
    ready.push(lines.find((line) => line.startsWith("ready;")));
  }
  expect(ready).toEqual([
    expect.stringContaining("at http://127.0.0.1:"),
    expect.stringContaining("at https://127.0.0.1:"),
  ]);
});

test("a directory that has lost a file of its CA or its tokens is not served openly", async () => {
  const directory = mkdtempSync("/dev/shm/datastore-test-");
  using cleanup = new DisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  await logOf({ directory, insecure: false });
  for (const lost of [["ca.crt"], ["ca.crt", "ca.key"], ["access.json"]]) {
    for (const name of lost) rmSync(join(directory, name));
    const lines = await logOf({ directory });
    expect(lines.find((line) => line.startsWith("ready;"))).toContain("at https://127.0.0.1:");
  }
});

describe("data without the files of its CA and its tokens", () => {
  const everywhere = { ...parseListenAddress("0.0.0.0")!, port: 0 };
  const initial = { key: "/net/config", value: "{}" };
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync("/dev/shm/datastore-test-");
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  test("is refused if it required tokens, on every address, and says what to do", async () => {
    await logOf({ directory, insecure: false, initial });
    for (const name of TOKEN_FILES) rmSync(join(directory, name));
    for (const listen of [LOOPBACK, everywhere]) {
      expect(await logOf({ directory, listen }).catch((error: unknown) => error))
        .toEqual(
          new DatastoreError(
            `the data in ${directory} requires tokens, but ca.key, ca.crt and access.json are ` +
              "missing there; restore them from the backup of the data, or set " +
              "--insecure=false to make a new CA and a new token, with which every node has to " +
              "join again",
          ),
        );
    }
    expect(TOKEN_FILES.filter((name) => existsSync(join(directory, name)))).toEqual([]);
    expect(await readyLine({ directory, insecure: true })).toContain("at http://127.0.0.1:");
    expect(await readyLine({ directory, insecure: false })).toContain("at https://127.0.0.1:");
    expect(await readyLine({ directory })).toContain("at https://127.0.0.1:");
  });

  test("that an earlier version has served with tokens gets the record", async () => {
    await logOf({ directory, insecure: false, initial });
    const file = join(directory, "datastore.sqlite");
    {
      using former = new Database(file);
      former.run("DROP TABLE requires_tokens");
    }
    await logOf({ directory });
    for (const name of TOKEN_FILES) rmSync(join(directory, name));
    expect(await logOf({ directory }).catch(String)).toContain("requires tokens, but");
  });

  test("counts as open only if something was written", async () => {
    const used = occupiedPort();
    const failing = { directory, insecure: true, listen: { ...LOOPBACK, port: used.port } };
    expect(await logOf(failing).catch(String)).toContain("the port is in use");
    used[Symbol.dispose]();
    expect(existsSync(join(directory, "datastore.sqlite"))).toBe(true);
    expect(await readyLine({ directory, listen: everywhere })).toContain("at https://0.0.0.0:");

    const other = join(directory, "other");
    await logOf({ directory: other, insecure: true, initial });
    expect(await logOf({ directory: other, listen: everywhere }).catch(String))
      .toContain("this directory was served in this way");
    expect(await readyLine({ directory: other })).toContain("at http://127.0.0.1:");
  });
});

const LOOPBACK = { ...parseListenAddress("127.0.0.1")!, port: 0 };
const TOKEN_FILES = ["access.json", "ca.crt", "ca.key"];

function occupiedPort() {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  return { port: server.port, [Symbol.dispose]: () => server.stop(true) };
}

async function readyLine(options: Parameters<typeof logOf>[0]): Promise<string | undefined> {
  return (await logOf(options)).find((line) => line.startsWith("ready;"));
}

/** Serves a directory, on loopback, until it is ready; returns the messages, or throws. */
async function logOf(
  options: Pick<ServeOptions, "directory"> & Partial<ServeOptions>,
): Promise<string[]> {
  const { log, records } = collectingLog();
  const stop = new AbortController();
  const served = serveDatastore({
    listen: LOOPBACK,
    tls: undefined,
    insecure: undefined,
    advertise: [],
    progressNotifyMs: 600_000,
    initial: undefined,
    ...options,
  }, { log, clock: systemClock, stop: stop.signal });
  const isReady = () => records.some(({ msg }) => msg.startsWith("ready;"));
  await Promise.race([served, eventually("it serves", 5_000, isReady)]);
  stop.abort();
  await served;
  return records.map(({ msg }) => msg);
}
