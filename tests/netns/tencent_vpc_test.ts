/** The tencent-vpc backend: the whole daemon against a cloud that checks its signatures. */

import { expect, test } from "bun:test";
import { join } from "node:path";
import { spawnInNamespace } from "../../src/lab/namespace.ts";
import { Cluster } from "../support/cluster.ts";
import { type FakeState, KEY, nodeRoute } from "../support/fake_tencent.ts";
import type { Host, StartOptions } from "../support/host.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const CLOUD = "http://127.0.0.1:8480";
const ENDPOINTS = { TENCENT_VPC_ENDPOINT: CLOUD, TENCENT_METADATA_ENDPOINT: CLOUD };
const START: StartOptions = {
  env: { ...ENDPOINTS, ACCESS_KEY_ID: KEY.id, ACCESS_KEY_SECRET: KEY.secret },
};

/** A cloud that the host reaches on loopback. */
async function startCloud(cluster: Cluster, host: Host): Promise<void> {
  const cloud = spawnInNamespace(host.station.namespace, {
    runDirectory: join(host.directory, "run"),
    logFile: join(host.directory, "cloud.log"),
    command: [process.execPath, join(import.meta.dir, "../support/fake_tencent.ts"), "8480"],
  });
  cluster.record.addProcess(cloud.pid);
  await eventually("the cloud answers", 30_000, async () => (await readState(host)).limit > 0);
}

async function readState(host: Host): Promise<FakeState> {
  return JSON.parse(await host.sh(`curl -sf ${CLOUD}/state`)) as FakeState;
}

async function writeState(host: Host, state: FakeState): Promise<void> {
  await host.sh(`curl -sf -X PUT -d '${JSON.stringify(state)}' ${CLOUD}/state >/dev/null`);
}

async function routes(host: Host): Promise<string[]> {
  const { tables } = await readState(host);
  return tables.flatMap(({ RouteSet }) =>
    RouteSet.filter(({ RouteType }) => RouteType === "USER").map((route) =>
      `${route.DestinationCidrBlock} by ${route.GatewayId}`
    )
  ).sort();
}

test(
  "a node creates its route in the cloud, keeps it over a restart, and keeps others'",
  async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    const one = cluster.host(1);
    await startCloud(cluster, one);
    const state = await readState(one);
    state.tables[0]?.RouteSet.push(
      nodeRoute(50, "10.5.1.0/24", "192.0.2.99"),
      nodeRoute(51, "10.5.2.0/24", "192.0.2.98"),
    );
    await writeState(one, state);
    await cluster.configure({ ...IPV4, Backend: { Type: "tencent-vpc" } });
    const daemon = await one.up(START);
    const expected = [`10.5.1.0/24 by ${one.address(4)}`, "10.5.2.0/24 by 192.0.2.98"];
    expect(await routes(one)).toEqual(expected);
    const { value } = await cluster.leaseOf(one);
    expect(value).toEqual({ PublicIP: one.address(4), PublicIPv6: null });
    expect(one.subnet().mtuBytes).toBe(1500);
    expect(await one.kernel()).not.toContain("10.5.");
    expect(daemon.log()).not.toContain(KEY.secret);

    expect((await one.daemon.stop()).code).toBe(0);
    expect(await routes(one)).toEqual(expected);
    await one.up(START);
    expect((await one.daemon.stop("SIGKILL")).code).toBe(137);
    expect(await routes(one)).toEqual(expected);
  },
  120_000,
);

test("a full table makes the node unready, with the reason, until there is room", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  const one = cluster.host(1);
  await startCloud(cluster, one);
  await writeState(one, { ...await readState(one), limit: 1 });
  await cluster.configure({
    ...IPV4,
    Backend: { Type: "tencent-vpc", AccessKeyID: KEY.id, AccessKeySecret: KEY.secret },
  });
  one.start({ env: ENDPOINTS });
  await eventually(
    "/readyz names the full table",
    30_000,
    async () => (await one.http("/readyz")).body.includes("rtb-main is full: it has 1 routes"),
  );
  await writeState(one, { ...await readState(one), limit: 50 });
  await one.ready();
  expect(await routes(one)).toHaveLength(1);
}, 120_000);

test("a wrong key ends the daemon with one line, and the key is not in it", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  const one = cluster.host(1);
  await startCloud(cluster, one);
  await cluster.configure({ ...IPV4, Backend: { Type: "tencent-vpc" } });
  for (
    const [env, message] of [
      [{}, "tencent-vpc needs an access key"],
      [{ ...START.env, ACCESS_KEY_SECRET: "hidden" }, "check AccessKeyID and AccessKeySecret"],
      [{ ...START.env, TENCENT_VPC_ENDPOINT: "vpc" }, 'TENCENT_VPC_ENDPOINT is "vpc"; it must be'],
    ] as const
  ) {
    const daemon = one.start({ env });
    expect(await daemon.exitCode()).toBe(1);
    expect(daemon.logLines(/^[EF]/)).toHaveLength(1);
    expect(daemon.logLines(/^[EF]/)[0]).toContain(message);
    expect(daemon.log()).not.toContain("hidden");
  }
}, 120_000);
