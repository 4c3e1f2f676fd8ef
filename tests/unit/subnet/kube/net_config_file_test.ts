/** The network configuration as a mounted ConfigMap, and as a file that is edited. Real files. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, pause, systemClock } from "../../../../src/base/clock.ts";
import { StoreError } from "../../../../src/subnet/lease_store.ts";
import { NetConfigFile } from "../../../../src/subnet/kube/net_config_file.ts";
import { collectingLog, type LogRecord } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

let root: string;
let directory: string;
let path: string;
let records: LogRecord[];
let stop: AbortController;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "net-conf-test-"));
  directory = join(root, "kube-flannel");
  path = join(directory, "net-conf.json");
  mkdirSync(directory);
  stop = new AbortController();
});

afterEach(() => {
  stop.abort();
  rmSync(root, { recursive: true });
});

function configFile(clock: Clock): NetConfigFile {
  const collected = collectingLog();
  records = collected.records;
  return new NetConfigFile({ path, clock, log: collected.log });
}

/** The next version of the ConfigMap, as the kubelet mounts it. */
function mountVersion(version: string, text: string | undefined): void {
  mkdirSync(join(directory, `..${version}`));
  if (text !== undefined) writeFileSync(join(directory, `..${version}`, "net-conf.json"), text);
  symlinkSync(`..${version}`, join(directory, "..data_tmp"));
  renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
}

/** What is yielded until now, and a promise of the end. */
function follow(file: NetConfigFile): (string | undefined)[] {
  const seen: (string | undefined)[] = [];
  void (async () => {
    for await (const text of file.watchNetworkConfig(stop.signal)) seen.push(text);
  })();
  return seen;
}

/** As `follow`, once the configuration has been read and the watch is open. */
async function readAndFollow(clock: FakeClock): Promise<(string | undefined)[]> {
  const file = configFile(clock);
  await file.networkConfig();
  const seen = follow(file);
  await clock.advance(0);
  return seen;
}

/** Waits for a notification of the real kernel. */
async function until(isTrue: () => boolean, clock?: FakeClock): Promise<void> {
  for (let i = 0; !isTrue(); i++) {
    if (i === 250) throw new Error("it did not happen within 5 s");
    await pause(systemClock, 20);
    // Far less than the period of the check: only a notification can be the cause.
    if (i < 30) await clock?.advance(50);
  }
}

function failureOf(file: NetConfigFile): Promise<Error> {
  return file.networkConfig().then((text) => new Error(`read ${text}`), (error) => error);
}

describe("reading the file", () => {
  test("follows the links of a mounted ConfigMap", async () => {
    mountVersion("1", "one");
    symlinkSync("..data/net-conf.json", path);
    expect(await configFile(new FakeClock()).networkConfig()).toBe("one");
  });

  test.each<[string, () => void, (reason: string) => string]>([
    [
      "is missing",
      () => {},
      () =>
        `open ${path}: no such file or directory; mount the ConfigMap with the network ` +
        "configuration there, or name another file with --net-config-path",
    ],
    ["is a directory", () => mkdirSync(path), () => `${path} is a directory, not a regular file`],
    [
      "is larger than a ConfigMap",
      () => {
        writeFileSync(path, "");
        truncateSync(path, 1024 * 1024 + 1);
      },
      () => `${path} has more than 1048576 bytes`,
    ],
  ])("says so if it %s", async (_what, prepare, reason) => {
    prepare();
    const error = await failureOf(configFile(new FakeClock()));
    expect(error).toBeInstanceOf(StoreError);
    expect(error.cause).toBeInstanceOf(Error);
    expect(error.message).toBe(`failed to read net conf: ${reason(path)}`);
  });
});

describe("watching the file", () => {
  test("notices at once that the kubelet mounts another version", async () => {
    const clock = new FakeClock();
    mountVersion("1", "one");
    symlinkSync("..data/net-conf.json", path);
    const seen = await readAndFollow(clock);
    for (const text of ["two", "three"]) {
      mountVersion(text, text);
      await until(() => seen.at(-1) === text, clock);
    }
    mountVersion("same", "three");
    mountVersion("without", undefined);
    await until(() => seen.at(-1) === undefined, clock);
    expect(seen).toEqual(["two", "three", undefined]);
    expect(records).toEqual([]);
  });

  test("notices at once what the file becomes, but not that it is empty meanwhile", async () => {
    const clock = new FakeClock();
    writeFileSync(path, "one");
    const seen = await readAndFollow(clock);
    truncateSync(path);
    await pause(systemClock, 50);
    writeFileSync(path, "two");
    await until(() => seen.length > 0, clock);
    expect(seen).toEqual(["two"]);
  });

  test("notices a change without a notification within ten seconds", async () => {
    const clock = new FakeClock();
    const elsewhere = join(root, "elsewhere.json");
    writeFileSync(elsewhere, "one");
    symlinkSync(elsewhere, path);
    const seen = await readAndFollow(clock);
    writeFileSync(elsewhere, "two");
    await pause(systemClock, 50);
    await clock.advance(9_000);
    expect(seen).toEqual([]);
    await clock.advance(1_000);
    expect(seen).toEqual(["two"]);
  });

  test("notices a change between the reading and the watch", async () => {
    const clock = new FakeClock();
    writeFileSync(path, "one");
    const file = configFile(clock);
    await file.networkConfig();
    writeFileSync(path, "two");
    const seen = follow(file);
    await clock.advance(0);
    expect(seen).toEqual(["two"]);
  });

  test("continues in a directory that was deleted and created again", async () => {
    const clock = new FakeClock();
    writeFileSync(path, "one");
    const seen = await readAndFollow(clock);
    rmSync(directory, { recursive: true });
    await until(() => seen.length === 1, clock);
    mkdirSync(directory);
    await clock.advance(10_000);
    writeFileSync(path, "two");
    await until(() => seen.length === 2, clock);
    expect(seen).toEqual([undefined, "two"]);
  });

  test("continues in a directory that has taken the place of another one", async () => {
    const clock = new FakeClock();
    writeFileSync(path, "one");
    const seen = await readAndFollow(clock);
    renameSync(directory, join(root, "before"));
    mkdirSync(directory);
    await clock.advance(11_000);
    writeFileSync(path, "two");
    await until(() => seen.length === 2, clock);
    expect(seen).toEqual([undefined, "two"]);
  });

  test("reports once that the file cannot be read, and keeps the configuration", async () => {
    const clock = new FakeClock();
    writeFileSync(path, "one");
    const file = configFile(clock);
    await file.networkConfig();
    const seen = follow(file);
    rmSync(path);
    mkdirSync(path);
    await clock.advance(40_000);
    rmSync(path, { recursive: true });
    writeFileSync(path, "one");
    await clock.advance(10_000);
    expect(seen).toEqual([]);
    expect(records.map(({ msg }) => msg)).toEqual([
      "watching the network configuration failed: failed to read net conf: " +
      `${path} is a directory, not a regular file`,
      expect.stringMatching(/^watching the network configuration works again after \d+ failures/),
    ]);
  });

  test("ends when it is aborted, also in its pauses", async () => {
    const clock = new FakeClock();
    const watching = configFile(clock).watchNetworkConfig(stop.signal).next();
    await clock.advance(0);
    stop.abort();
    expect(await watching).toEqual({ done: true, value: undefined });
  });
});
