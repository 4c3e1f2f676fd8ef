/** `flanneld datastore` and a real etcd, on the same disk: writes, watches, start, memory. */

import { mkdtempSync, rmSync } from "node:fs";
import { RawClient, Requests } from "../datastore/raw_client.ts";
import { EtcdServer, type ServerKind } from "../support/etcd_server.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { WatchRequestSchema } from "../../src/etcd/api/rpc_pb.ts";
import type { Bench } from "./bench.ts";
import { memoryMib } from "../support/process_memory.ts";
import { median, type Row } from "./table.ts";

const WATCHES = 1_000;
/** Some 200 bytes, as a node's lease has. */
const VALUE = new TextEncoder().encode(
  `{"PublicIP":"192.0.2.1","BackendData":"${"x".repeat(160)}"}`,
);
const CLIENTS = 16;

export async function benchDatastore({ sizes, ours }: Bench): Promise<Row[]> {
  const theirs = await measure("etcd", { keys: sizes.large, puts: sizes.small });
  const own = await measure("datastore", {
    keys: sizes.large,
    puts: sizes.small,
    executable: ours.path,
  });
  const row = (what: string, unit: Row["unit"], key: keyof Measured): Row => ({
    what: `datastore: ${what}`,
    unit,
    ours: own[key],
    theirs: theirs[key],
    against: "etcd",
  });
  return [
    row("a put, one after the other", "ms", "putMs"),
    row(`a put, ${CLIENTS} at a time`, "ms", "concurrentPutMs"),
    row(`a put until the last of ${WATCHES} watches receives it`, "ms", "fanOutMs"),
    row(`start with ${sizes.large} keys until the first answer`, "ms", "startMs"),
    row(`resident memory with ${sizes.large} keys and ${WATCHES} watches`, "MiB", "residentMib"),
  ];
}

interface Measured {
  readonly putMs: number;
  readonly concurrentPutMs: number;
  readonly fanOutMs: number;
  readonly startMs: number;
  readonly residentMib: number;
}

async function measure(
  kind: ServerKind,
  { keys, puts, executable }: { keys: number; puts: number; executable?: string },
): Promise<Measured> {
  const directory = mkdtempSync("/var/tmp/bench-datastore-");
  const program = executable === undefined ? {} : { executable };
  try {
    await using server = await EtcdServer.start({ kind, directory, ...program });
    const putMs = await timePuts(server.url, { count: puts, clients: 1 });
    const concurrentPutMs = await timePuts(server.url, { count: keys, clients: CLIENTS });
    const startMs = await timeStart(server);
    const { fanOutMs, residentMib } = await timeFanOut(server);
    return { putMs, concurrentPutMs, startMs, fanOutMs, residentMib };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Milliseconds for each of `count` puts of different keys. */
async function timePuts(
  url: string,
  { count, clients }: { count: number; clients: number },
): Promise<number> {
  using client = new RawClient(url);
  await client.kv.range({ key: VALUE });
  let next = 0;
  const worker = async () => {
    for (let number = next++; number < count; number = next++) {
      await client.kv.put({ key: new TextEncoder().encode(`/bench/${number}`), value: VALUE });
    }
  };
  const begun = performance.now();
  await Promise.all(Array.from({ length: clients }, worker));
  return (performance.now() - begun) / count;
}

/** Until the first response to a read. */
async function timeStart(server: EtcdServer): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < 5; run++) {
    await server.stop();
    const begun = performance.now();
    server.launch();
    for (;;) {
      using client = new RawClient(server.url);
      const signal = AbortSignal.timeout(2_000);
      if (await client.kv.range({ key: VALUE }, { signal }).catch(() => undefined)) break;
      await Bun.sleep(2);
    }
    times.push(performance.now() - begun);
  }
  return median(times);
}

/** Each watch on a stream of its own, as each node has one; ten connections. */
async function timeFanOut(
  server: EtcdServer,
): Promise<{ fanOutMs: number; residentMib: number }> {
  using stack = new DisposableStack();
  const clients = Array.from({ length: 10 }, () => stack.use(new RawClient(server.url)));
  const stop = new AbortController();
  stack.defer(() => stop.abort());
  let received = 0;
  let created = 0;
  for (let index = 0; index < WATCHES; index++) {
    const requests = new Requests<MessageInitShape<typeof WatchRequestSchema>>();
    const request = { key: Uint8Array.of(0x2f), rangeEnd: Uint8Array.of(0x30) };
    requests.send({ requestUnion: { case: "createRequest", value: request } });
    const client = clients[index % clients.length] as RawClient;
    const read = async () => {
      for await (const response of client.watch.watch(requests, { signal: stop.signal })) {
        if (response.created) created++;
        received += response.events.length;
      }
    };
    read().catch(() => {});
  }
  while (created < WATCHES) await Bun.sleep(1);
  const times: number[] = [];
  for (let number = 0; number < 20; number++) {
    received = 0;
    const begun = performance.now();
    await clients[0]?.kv.put({ key: new TextEncoder().encode("/fan-out"), value: VALUE });
    while (received < WATCHES) await new Promise((resolve) => setImmediate(resolve));
    times.push(performance.now() - begun);
  }
  return { fanOutMs: median(times), residentMib: memoryMib(server.pid).resident };
}
