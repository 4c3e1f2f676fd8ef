import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { systemClock } from "../../../src/base/clock.ts";
import { Datastore } from "../../../src/datastore/datastore.ts";
import { ALL_KEYS } from "../../../src/datastore/mvcc/key_interval.ts";
import { RemoteEtcd } from "../../../src/datastore/transfer/remote_etcd.ts";
import { removeEntries } from "../../../src/datastore/transfer/restore.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { bytes, text } from "./fixture.ts";

test("keys to remove may already be missing, and a changed key is kept", async () => {
  const directory = mkdtempSync("/dev/shm/datastore-test-");
  using cleanup = new DisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  await using datastore = await Datastore.start({
    directory,
    host: "127.0.0.1",
    port: 0,
    progressNotifyMs: 600_000,
    clock: systemClock,
    log: collectingLog().log,
  });
  using remote = new RemoteEtcd({
    endpoints: [datastore.url],
    caFile: "",
    certFile: "",
    keyFile: "",
    username: "",
    password: "",
    flagPrefix: "--to-",
  }, { clock: systemClock, signal: new AbortController().signal });
  for (const key of ["copied", "changed"]) datastore.putIfAbsent(key, `${key} value`);
  const entry = (key: string, value: string) => ({
    key: bytes(key),
    value: bytes(value),
    lease: 0n,
  });
  await removeEntries(remote, [entry("expired", "any"), entry("copied", "copied value")]);
  const failure = await removeEntries(remote, [entry("changed", "former value")])
    .then(() => "none", (error: Error) => error.message);
  expect(failure).toContain("another program is writing");
  const { entries } = datastore.store.read(ALL_KEYS);
  expect(entries.map(({ key }) => text(key))).toEqual(["changed"]);
});
