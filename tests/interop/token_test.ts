/** Unmodified Go flannel with a datastore that requires tokens: as a user with a password. */

import { expect, test } from "bun:test";
import { join } from "node:path";
import { spawnInNamespace } from "../../src/lab/namespace.ts";
import { Cluster } from "../support/cluster.ts";
import { Daemon, FLANNELD, type Host } from "../support/host.ts";
import { eventually } from "../support/wait.ts";
import { goFlannel } from "./mixed_cluster.ts";

test("Go flannel shares a network with nodes that joined, also after a restart of it", async () => {
  await using cluster = await Cluster.create({ hosts: 3 });
  const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
  const data = join(one.directory, "datastore");
  const datastore = (command: string) =>
    one.sh(`${FLANNELD} datastore ${command} --data-dir=${data}`);
  const first = await startDatastore(cluster, { host: one, data });

  const variables = await datastore("user add go-node");
  const valueOf = (name: string) => new RegExp(`^FLANNELD_${name}=(.+)$`, "m").exec(variables)?.[1];
  one.start({
    binary: await goFlannel(),
    store: [
      `-etcd-endpoints=${valueOf("ETCD_ENDPOINTS")}`,
      `-etcd-username=${valueOf("ETCD_USERNAME")}`,
      `-etcd-password=${valueOf("ETCD_PASSWORD")}`,
    ],
    // It uses -etcd-cafile only with a client certificate; Go reads this variable.
    env: { SSL_CERT_FILE: `${valueOf("ETCD_CAFILE")}` },
  });
  await one.ready();
  const [, target] = /--join (\S+)/.exec(await datastore("token")) ?? [];
  const joining = (host: Host) => ({
    store: [`--join=${target}`, `--join-state=${join(host.directory, "joined.json")}`],
  });
  await two.up(joining(two));
  await cluster.attachWorkloads([one, two]);
  await cluster.expectMesh({ hosts: [one, two] });

  // Its auth token is lost with the first one.
  await first.stop();
  await startDatastore(cluster, { host: one, data });
  await three.up(joining(three));
  await cluster.attachWorkloads([three]);
  await cluster.expectMesh();
  expect(await datastore("user list")).toContain("go-node");
}, 240_000);

async function startDatastore(
  { record }: Cluster,
  { host, data }: { readonly host: Host; readonly data: string },
): Promise<Daemon> {
  const flags = [`--listen=${host.address(4)}`, `--data-dir=${data}`, "--network=10.5.0.0/16"];
  const logFile = join(host.directory, `datastore-${crypto.randomUUID()}.log`);
  const started = spawnInNamespace(host.station.namespace, {
    runDirectory: join(host.directory, "run"),
    logFile,
    command: [FLANNELD, "datastore", ...flags],
  });
  record.addProcess(started.pid);
  const server = new Daemon(started, logFile);
  await eventually("the datastore serves", 60_000, () => server.log().includes("] ready; "));
  return server;
}
