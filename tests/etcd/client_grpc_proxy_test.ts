/** etcd's own proxy, which answers the first request on a renewal stream soon, and others late. */

import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer, freePorts } from "../support/etcd_server.ts";

const forever = new AbortController().signal;

test("leases are renewed through etcd's grpc-proxy", async () => {
  await using server = await EtcdServer.start();
  const [port] = await freePorts(2);
  const proxy = Bun.spawn([
    "etcd",
    "grpc-proxy",
    "start",
    `--endpoints=${server.url}`,
    `--listen-addr=127.0.0.1:${port}`,
  ], { stdout: "ignore", stderr: "ignore" });
  try {
    const { log } = collectingLog();
    const endpoints = [`http://127.0.0.1:${port}`];
    const timing = { attemptMs: 2_000, retryForMs: 30_000 };
    await using client = new EtcdClient({ clock: systemClock, endpoints, log, timing });
    const { id } = await client.grantLease({ ttlSeconds: 60 }, forever);
    for (let renewal = 0; renewal < 5; renewal++) {
      expect(await client.keepLeaseAlive(id, forever)).toBe(60);
    }
  } finally {
    proxy.kill("SIGKILL");
    await proxy.exited;
  }
}, 90_000);
