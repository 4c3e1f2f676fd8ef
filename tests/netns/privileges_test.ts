/** A daemon that may not change the network. */

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../support/cluster.ts";
import { FLANNELD } from "../support/host.ts";
import { IPV4 } from "../support/networks.ts";

test("a start without CAP_NET_ADMIN ends with one line, before a subnet is taken", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure({ ...IPV4, Backend: { Type: "vxlan" } });
  const one = cluster.host(1);
  const binary = join(one.directory, "unprivileged");
  const script = `#!/bin/sh\nexec setpriv --bounding-set=-net_admin ${FLANNELD} "$@"\n`;
  writeFileSync(binary, script, { mode: 0o755 });
  const daemon = one.start({ binary });
  expect(await daemon.exitCode(30_000)).toBe(1);
  const lines = daemon.logLines(/^[EFW]/);
  expect(lines).toEqual([expect.stringContaining("it lacks CAP_NET_ADMIN: run it as root")]);
  expect(await cluster.leases()).toEqual([]);
}, 60_000);
