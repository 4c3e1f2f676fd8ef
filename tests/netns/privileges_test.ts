/** A daemon without the capabilities or resources that it needs. */

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../src/process/run_program.ts";
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
  expect(await daemon.exitCode()).toBe(1);
  const lines = daemon.logLines(/^[EFW]/);
  expect(lines).toEqual([expect.stringContaining("missing CAP_NET_ADMIN: run flanneld as root")]);
  expect(await cluster.leases()).toEqual([]);
}, 60_000);

test.each([
  ["-v 2000000", "this process is limited to 1.9 GiB of address space; it needs 3 GiB"],
  ["-d 1000000", "this process is limited to 976.5 MiB of data; it needs 3 GiB"],
  ["-n 16", "this process is limited to 16 open files; it needs 64"],
])("a start with ulimit %s ends with one line", async (limit, expected) => {
  for (const command of [["--etcd-endpoints=http://127.0.0.1:1"], ["datastore", "--insecure"]]) {
    const script = `ulimit ${limit} && exec ${FLANNELD} "$@"`;
    const { exitCode, stdout, stderr } = await runProgram("sh", ["-c", script, "sh", ...command]);
    expect(exitCode).toBe(1);
    expect(stdout).toBe("");
    expect(stderr.trimEnd().split("\n")).toEqual([expect.stringContaining(expected)]);
  }
}, 60_000);

test("a start without executable memory ends with one line that names the directive", async () => {
  // PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN; linux/prctl.h
  const forbid = "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); " +
    "os.execv(sys.argv[1], sys.argv[1:])";
  const command = ["-c", forbid, FLANNELD, "--etcd-endpoints=http://127.0.0.1:1"];
  const { exitCode, stderr } = await runProgram("python3", command);
  expect(exitCode).toBe(1);
  expect(stderr.split("\n").filter((line) => /^[EF]/.test(line))).toEqual([
    expect.stringContaining("remove MemoryDenyWriteExecute=yes from the systemd unit"),
  ]);
}, 60_000);

test("where /proc/sys is hidden, a parameter that cannot be set names the directive", async () => {
  const source = new URL("../../src/kernel/sysctl/proc_sys.ts", import.meta.url).pathname;
  const sysctl = { kind: "sysctl", path: "net/ipv6/conf/lo/disable_ipv6", value: "0" };
  const script = `import { writeSysctl } from "${source}";
    console.log(writeSysctl(${JSON.stringify(sysctl)})?.message);`;
  const hide = 'mount -t proc -o subset=pid proc /proc && exec "$@"';
  const command = ["--mount", "sh", "-ec", hide, "sh", process.execPath, "-e", script];
  const { stdout, stderr } = await runProgram("unshare", command);
  expect(stderr).toBe("");
  expect(stdout).toContain("remove ProcSubset=pid from the systemd unit");
}, 60_000);
