import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { newDatastoreSecret } from "../../../src/datastore/access/prepared_access.ts";
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

/** Serves a directory on loopback until it is ready; returns the messages. */
async function logOf(
  options: Pick<ServeOptions, "directory"> & Partial<ServeOptions>,
): Promise<string[]> {
  const { log, records } = collectingLog();
  const stop = new AbortController();
  const served = serveDatastore({
    listen: { ...parseListenAddress("127.0.0.1")!, port: 0 },
    tls: undefined,
    insecure: undefined,
    advertise: [],
    progressNotifyMs: 600_000,
    initial: undefined,
    ...options,
  }, { log, clock: systemClock, stop: stop.signal });
  await eventually("it serves", 5_000, () => records.some(({ msg }) => msg.startsWith("ready;")));
  stop.abort();
  await served;
  return records.map(({ msg }) => msg);
}
