import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { serveDatastore } from "../../../src/datastore/serve.ts";
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
    const { log, records } = collectingLog();
    const stop = new AbortController();
    const options = {
      listen: { ...parseListenAddress("127.0.0.1")!, port: 0 },
      directory,
      tls: undefined,
      insecure: false,
      progressNotifyMs: 600_000,
      initial: { key: "/net/config", value: JSON.stringify({ Backend: { PSK: psk } }) },
    };
    const served = serveDatastore(options, { log, clock: systemClock, stop: stop.signal });
    await eventually("it serves", 5_000, () => records.some(({ msg }) => msg.startsWith("ready;")));
    stop.abort();
    await served;
    lines.push(...records.map(({ msg }) => msg));
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
