/** Two wireguard daemons in one network namespace: the second does not disturb the first. */

import { expect, test } from "bun:test";
import { join } from "node:path";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host, StartOptions } from "../support/host.ts";
import { IPV4 } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";
import { wireguardText } from "../support/wireguard_text.ts";

const WIREGUARD = { ...IPV4, Backend: { Type: "wireguard" } };
const OTHER_PREFIX = "/other.example/network";

/** Options of a second daemon on this host. */
function secondDaemon(host: Host, ...flags: string[]): StartOptions {
  const file = join(host.directory, "second", "subnet.env");
  return { flags: [`--subnet-file=${file}`, "--healthz-port=0", ...flags] };
}

const read = async (host: Host) => await host.kernel() + await wireguardText(host);

test.each([
  ["of another network", [`--etcd-prefix=${OTHER_PREFIX}`]],
  ["of the same network", []],
])("a second daemon, %s, ends with one clear line", async (_name, flags) => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure(WIREGUARD);
  await cluster.etcd.put(`${OTHER_PREFIX}/config`, JSON.stringify(WIREGUARD));
  const one = cluster.host(1);
  const first = await one.up();
  const before = [await read(one), await cluster.etcd.list(PREFIX)];
  const second = one.start(secondDaemon(one, ...flags));
  expect(await second.exitCode()).toBe(1);
  expect(second.logLines(/^E/).map((line) => line.slice(line.indexOf("]") + 2))).toEqual([
    `another flanneld on this host (process ${first.pid}) uses the device flannel-wg, of which a ` +
    "network namespace has one: stop that flanneld, or give one of the two another backend",
  ]);
  expect([await read(one), await cluster.etcd.list(PREFIX)]).toEqual(before);
  expect((await one.http("/readyz")).status).toBe(200);
  expect(first.logLines(/^[WE]/)).toEqual(first.logLines(/user space/));
  await first.stop();
}, 120_000);

test("a daemon that is started while the previous one ends waits for it", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure(WIREGUARD);
  const one = cluster.host(1);
  const first = one.start({ flags: ["--healthz-port=0"] }); // The second has the port.
  await eventually("it is ready", 30_000, () => first.log().includes("] ready; "));
  const before = await read(one);
  const second = one.start();
  const waits = () => second.logLines(/uses the device flannel-wg; waiting for it/).length === 1;
  await eventually("it waits", 30_000, waits);
  expect((await one.http("/readyz")).body).toBe(
    "flanneld is not ready:\n- claiming the device flannel-wg\n" +
      `- last log line: another flanneld on this host (process ${first.pid}) uses the device ` +
      "flannel-wg; waiting for it to end\n",
  );
  expect((await first.stop()).code).toBe(0);
  await one.ready();
  expect(await read(one)).toBe(before);
}, 120_000);
