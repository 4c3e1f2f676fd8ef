/** What the client does when this host's addresses and routes change: etcd is on another host. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { etcdHostNetwork } from "../../src/daemon/etcd_host_network.ts";
import { readInterfaces } from "../../src/host/interface_reader.ts";
import { NetworkChanges } from "../../src/host/network_changes.ts";
import { ipBatch } from "../../src/lab/namespace.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import type { EtcdWatch } from "../../src/etcd/client/etcd.ts";
import { systemClock } from "../../src/base/clock.ts";
import { collectingLog, type LogRecord } from "../support/collecting_log.ts";
import { EtcdServer, freePorts } from "../support/etcd_server.ts";
import { Namespace } from "../support/network_namespace.ts";
import { ScriptedEtcd } from "../support/scripted_etcd.ts";
import { eventually } from "../support/wait.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const FLANNELD = resolve(ROOT, process.env["FLANNELD_BINARY"] ?? "dist/flanneld");
const [SERVER, FIRST, SECOND] = ["10.99.0.1", "10.99.0.2", "10.99.0.3"];
const PREFIX = "/network/";
/** Long enough that no PING notices a failure in these tests. */
const timing = { pingIntervalMs: 600_000, pingTimeoutMs: 600_000 };
const forever = new AbortController().signal;

let remote: Namespace;
let server: EtcdServer;
let cleanup: AsyncDisposableStack;
let client: EtcdClient;
let records: LogRecord[];
let events: AsyncIterator<EtcdWatch>;
let changes = 0;

beforeAll(async () => {
  remote = await Namespace.create();
  await ipBatch([
    `link add up0 type veth peer name eth0 netns ${remote.name}`,
    "link set up0 up",
  ]);
  await remote.sh(`ip link set eth0 up && ip address add ${SERVER}/24 dev eth0`);
  await Bun.write("/proc/sys/net/ipv4/conf/up0/promote_secondaries", "1");
  await addresses();
  server = await EtcdServer.start({ kind: "etcd", namespace: remote.name, host: SERVER as string });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await remote[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await addresses();
  cleanup = new AsyncDisposableStack();
  const kernel = cleanup.use(new NetlinkKernel({ clock: systemClock }));
  const collecting = collectingLog();
  records = collecting.records;
  const { log } = collecting;
  const host = etcdHostNetwork({ kernel, readInterfaces: () => readInterfaces(systemClock) });
  client = cleanup.use(
    new EtcdClient({ clock: systemClock, endpoints: [server.url], log, host, timing }),
  );
  const onChanged = async () => {
    await client.networkChanged();
    changes++;
  };
  cleanup.use(new NetworkChanges({ kernel, onChanged, clock: systemClock, log }));
  events = client.watch(PREFIX, forever)[Symbol.asyncIterator]();
  await events.next();
});

afterEach(() => cleanup.disposeAsync());

/** Both addresses; packets to the server use the first. */
async function addresses(): Promise<void> {
  await ipBatch([
    "address flush dev up0",
    "link set up0 up",
    `address add ${FIRST}/24 dev up0`,
    `address add ${SECOND}/24 dev up0`,
  ]);
}

/** On the server's host, so that it needs no connection of ours. */
async function putThere(key: string): Promise<void> {
  await remote.sh(`ETCDCTL_API=3 etcdctl --endpoints=${server.url} put ${PREFIX}${key} ''`);
}

/** Our ends of the connections that the server has. */
async function ourEnds(): Promise<string> {
  return await remote.sh("ss -Htn state established");
}

async function expectDelivery(key: string, event: Promise<IteratorResult<EtcdWatch>>) {
  expect(await event).toMatchObject({
    value: { kind: "put", keyValue: { key: `${PREFIX}${key}` } },
  });
}

function logText(): string {
  return records.filter(({ level }) => level === "warn").map(({ msg }) => msg).join("\n");
}

test("a connection from an address that is gone is dropped, and the watch delivers", async () => {
  const event = events.next();
  await eventually(
    "the connection",
    20_000,
    async () => (await ourEnds()).includes(FIRST as string),
  );
  await ipBatch([`address del ${FIRST}/24 dev up0`]);
  await putThere("lost");
  await expectDelivery("lost", event);
  expect(logText()).toContain(`this host no longer has the connection's address ${FIRST}`);
  expect(await ourEnds()).toContain(SECOND as string);
});

test("a change of the source address drops a connection, and the watch delivers", async () => {
  const event = events.next();
  await eventually(
    "the connection",
    20_000,
    async () => (await ourEnds()).includes(FIRST as string),
  );
  await ipBatch([`route replace ${SERVER} dev up0 src ${SECOND}`]);
  await eventually(
    "another connection",
    20_000,
    async () => (await ourEnds()).includes(SECOND as string),
  );
  expect(logText()).toContain(`changed from ${FIRST} to ${SECOND}`);
  await putThere("moved");
  await expectDelivery("moved", event);
});

test("the connection is dropped while there is no route, and redialled with one", async () => {
  const event = events.next();
  await eventually(
    "the connection",
    20_000,
    async () => (await ourEnds()).includes(FIRST as string),
  );
  await ipBatch(["link set up0 down"]);
  await eventually("that it is dropped", 20_000, () => logText().includes("no longer a route"));
  await putThere("down");
  await ipBatch(["link set up0 up"]);
  await expectDelivery("down", event);
});

test("changes elsewhere leave the connection, and are looked at together", async () => {
  const event = events.next();
  await eventually(
    "the connection",
    20_000,
    async () => (await ourEnds()).includes(FIRST as string),
  );
  const before = changes;
  const lines = Array.from({ length: 50 }, (_, number) => [
    `link add other${number} type veth peer name peer${number}`,
    `address add 10.98.${number}.1/24 dev other${number}`,
    `link set other${number} up`,
    `route add 10.97.${number}.0/24 dev other${number} proto static`,
    `link del other${number}`,
  ]).flat();
  await ipBatch([...lines, `address del ${SECOND}/24 dev up0`]);
  await eventually("a look", 20_000, () => changes > before);
  await putThere("elsewhere");
  await expectDelivery("elsewhere", event);
  expect(changes - before).toBeLessThan(10);
  expect(logText()).toBe("");
});

test("a server is tried each second, with jitter, and more rarely if it responds", async () => {
  const longestPause = async (endpoint: string, attempts: number) => {
    const pauses: number[] = [];
    const clock = {
      ...systemClock,
      random: () => 0,
      setTimer: (delayMs: number, callback: () => void) => {
        // The deadlines of calls and of the connection.
        if (delayMs > 3_000) return systemClock.setTimer(delayMs, callback);
        pauses.push(delayMs);
        return systemClock.setTimer(0, callback);
      },
    };
    const { log } = collectingLog();
    const timing = { retryForMs: 0 };
    await using client = new EtcdClient({ endpoints: [endpoint], log, clock, timing });
    const watching = client.watch(PREFIX, forever)[Symbol.asyncIterator]().next();
    await eventually("the attempts", 20_000, () => pauses.length >= attempts);
    await client[Symbol.asyncDispose]();
    await watching;
    return Math.max(...pauses);
  };
  const [port] = await freePorts(2);
  expect(await longestPause(`http://127.0.0.1:${port}`, 10)).toBe(1_000);
  await using wrong = await ScriptedEtcd.start();
  wrong.script = { range: (answer) => ({ ...answer, more: true }) };
  expect(await longestPause(wrong.url, 10)).toBe(2_000);
});

test("the compiled daemon drops a connection whose address the host has lost", async () => {
  const config = '{"Network":"10.5.0.0/16","EnableNFTables":true,"Backend":{"Type":"alloc"}}';
  await remote.sh(
    `ETCDCTL_API=3 etcdctl --endpoints=${server.url} put /coreos.com/network/config '${config}'`,
  );
  const directory = mkdtempSync(join(tmpdir(), "network-"));
  const log = join(directory, "log");
  await using daemon = Bun.spawn([
    FLANNELD,
    `--etcd-endpoints=${server.url}`,
    `--subnet-file=${join(directory, "subnet.env")}`,
    `--public-ip=${SECOND}`,
    "--iptables-forward-rules=false",
  ], { stdout: "ignore", stderr: Bun.file(log) });
  const says = (text: string) => () => readFileSync(log, "utf8").includes(text);
  await eventually("that it is ready", 30_000, says("] ready; "));
  await ipBatch([`address del ${FIRST}/24 dev up0`]);
  // A PING would notice it as well, with another message.
  const reason = `failed: this host no longer has the connection's address ${FIRST}`;
  await eventually(reason, 30_000, says(reason));
  daemon.kill();
  await daemon.exited;
  rmSync(directory, { recursive: true });
});
