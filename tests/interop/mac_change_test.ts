/** A peer's VTEP MAC changes: the other program follows, and packets flow again. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually } from "../support/wait.ts";
import { MixedCluster, type MixedHost } from "./mixed_cluster.ts";

let cluster: MixedCluster;

beforeAll(async () => {
  cluster = await MixedCluster.start({
    kinds: ["Go", "ours"],
    families: [4, 6],
    backend: { Type: "vxlan" },
  });
}, 900_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 180_000);

test("ours follows when Go returns with another MAC, and drops the old FDB entry", async () => {
  const [go, ours] = [cluster.first("Go"), cluster.first("ours")];
  await go.host.daemon.stop();
  const before = await macs(go);
  // Go flannel does not keep the MAC of a lost device with etcd.
  for (const device of DEVICES) await go.host.sh(`ip link delete ${device}`);
  await go.up("Go");
  const after = await macs(go);
  for (const index of DEVICES.keys()) expect(after[index]).not.toBe(before[index]);
  await eventually("ours knows the new addresses only", 30_000, async () => {
    expect(await knownMacs(ours)).toEqual(after);
    return true;
  });
  expect(await cluster.unanswered()).toEqual([]);
}, 180_000);

test("Go follows when ours returns with another MAC", async () => {
  const [go, ours] = [cluster.first("Go"), cluster.first("ours")];
  await ours.host.daemon.stop();
  const changed = ["02:11:22:33:44:55", "02:11:22:33:44:66"];
  for (const [index, device] of DEVICES.entries()) {
    await ours.host.sh(`ip link set ${device} address ${changed[index]}`);
  }
  await ours.up("ours");
  expect(await macs(ours)).toEqual(changed);
  await eventually("Go knows the new addresses", 30_000, async () => {
    // The old ones stay on Go's side: it never removes one when a MAC changes.
    expect(await knownMacs(go)).toEqual(expect.arrayContaining(changed));
    return true;
  });
  expect(await cluster.unanswered()).toEqual([]);
}, 180_000);

const DEVICES = ["flannel.1", "flannel-v6.1"] as const;

/** The MACs of a host's own devices. */
async function macs({ host }: MixedHost): Promise<string[]> {
  const read = DEVICES.map((device) => host.sh(`cat /sys/class/net/${device}/address`));
  return (await Promise.all(read)).map((text) => text.trim());
}

/** The MACs in a host's FDB, by device. */
async function knownMacs({ host }: MixedHost): Promise<string[]> {
  const tables = await Promise.all(
    DEVICES.map((device) => host.sh(`bridge fdb show dev ${device}`)),
  );
  return tables.flatMap((table) => [...table.matchAll(/^(\S+) dst/gm)].map(([, mac]) => mac ?? ""));
}
