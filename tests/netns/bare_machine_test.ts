/**
 * The executable on a bare machine: no libnl, no node_modules, no writable root, and CAP_NET_ADMIN
 * as its only capability.
 */

import { expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Cluster } from "../support/cluster.ts";
import { FLANNELD, type Host } from "../support/host.ts";

/** Enters the root directory, drops all capabilities but one, executes the program. */
const CONFINE = `
import ctypes, os, sys
CAP_NET_ADMIN, PR_CAPBSET_DROP = 12, 24  # linux/capability.h, linux/prctl.h
root, *command = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.chroot(root)
os.chdir("/")
for capability in range(64):
    if capability != CAP_NET_ADMIN:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(command[0], command)
`;

/** Mounts are this process's own: `ip netns exec` has made its mount namespace. */
const ENTER = `#!/bin/sh
set -e
mount --bind "$ROOT_DIRECTORY" "$ROOT_DIRECTORY"
mount --bind "$STATE_DIRECTORY" "$ROOT_DIRECTORY$STATE_DIRECTORY"
mount -t proc proc "$ROOT_DIRECTORY/proc"
mount -o remount,bind,ro "$ROOT_DIRECTORY"
exec python3 -c "$CONFINE" "$ROOT_DIRECTORY" /flanneld "$@"
`;

/** Files that a program is linked against, with the loader. */
function linkedFiles(program: string): string[] {
  const { stdout } = Bun.spawnSync(["ldd", program]);
  return [...stdout.toString().matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] as string);
}

/** A root directory with the executable, glibc and these further libraries. */
function makeRoot(host: Host, libraries: readonly string[]): string {
  const root = join(host.directory, "root");
  const files = [
    ...linkedFiles(FLANNELD),
    ...libraries.flatMap((one) => [one, ...linkedFiles(one)]),
  ];
  for (const file of new Set(files)) {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    copyFileSync(file, join(root, file));
  }
  for (const directory of ["proc", host.directory]) {
    mkdirSync(join(root, directory), { recursive: true });
  }
  copyFileSync(FLANNELD, join(root, "flanneld"));
  chmodSync(join(root, "flanneld"), 0o755);
  expect([...files].filter((file) => file.includes("libnl-"))).toEqual([]);
  return root;
}

function libraryPath(name: string): string {
  const { stdout } = Bun.spawnSync(["sh", "-c", "PATH=$PATH:/sbin ldconfig -p"]);
  const path = stdout.toString().match(new RegExp(`${name.replaceAll(".", "\\.")} .*=> (/\\S+)`))
    ?.[1];
  if (path === undefined) throw new Error(`there is no ${name} on this machine`);
  return path;
}

test(
  "hosts with the executable, glibc, libnftables and CAP_NET_ADMIN only make a mesh",
  async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure({ Network: "10.5.0.0/16", EnableNFTables: true });
    for (const host of cluster.hosts) {
      const root = makeRoot(host, [libraryPath("libnftables.so.1")]);
      const wrapper = join(host.directory, "enter");
      writeFileSync(wrapper, ENTER, { mode: 0o755 });
      host.start({
        binary: wrapper,
        flags: ["--ip-masq"],
        env: { ROOT_DIRECTORY: root, STATE_DIRECTORY: host.directory, CONFINE },
      });
    }
    for (const host of cluster.hosts) await host.ready();
    await cluster.attachWorkloads();
    await cluster.expectMesh();

    for (const { daemon } of cluster.hosts) {
      expect(readFileSync(`/proc/${daemon.pid}/status`, "utf8")).toMatch(/CapEff:\t0{12}1000\n/);
      const maps = readFileSync(`/proc/${daemon.pid}/maps`, "utf8");
      expect(maps).toContain("/memfd:libnl-3.so.200");
      expect(maps).toContain("/memfd:libnl-route-3.so.200");
      expect((await daemon.stop()).code).toBe(0);
    }
  },
  120_000,
);
