/** docs/upgrade.md, "Hosts with etcd": machines whose units run Go flannel change to flanneld. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FLANNELD } from "../support/host.ts";
import {
  attachAll,
  expectMachineMesh,
  FLANNEL_FILES,
  pingWorkload,
  unitProperty,
} from "../support/machines/flannel_machines.ts";
import type { Machine } from "../support/machines/machine.ts";
import { Machines } from "../support/machines/machines.ts";
import { writeRelease } from "../support/machines/release_host.ts";
import { eventually } from "../support/wait.ts";
import { goFlannel } from "./mixed_cluster.ts";

const ENDPOINT = "http://192.168.56.11:2379";
const GO_UNIT = `[Service]
Type=notify
ExecStart=/usr/local/bin/flanneld -etcd-endpoints=${ENDPOINT} -iface=eth1 -ip-masq
Restart=always
`;

describe("hosts with Go flannel", () => {
  let release: string;
  let machines: Machines;

  beforeAll(async () => {
    release = mkdtempSync(join(tmpdir(), "release-"));
    await writeRelease(release, { appended: "" });
    machines = await Machines.create({
      count: 2,
      files: [
        ...FLANNEL_FILES.filter(({ path }) => path.startsWith("/etc/sysctl.d/")),
        { path: "/usr/local/bin/flanneld", content: { copyOf: await goFlannel() }, mode: 0o755 },
        { path: "/etc/systemd/system/flanneld.service", content: GO_UNIT },
        { path: "/opt/flanneld", content: { copyOf: FLANNELD }, mode: 0o755 },
        ...readdirSync(release).map((name) => ({
          path: `/root/release/${name}`,
          content: { copyOf: join(release, name) },
        })),
      ],
    });
    await machines.boot();
    await machines.at(1).run(
      "systemd-run --quiet --unit store --service-type=notify /opt/flanneld datastore --insecure " +
        "--listen 192.168.56.11 --network 10.5.0.0/16 --data-dir /var/lib/store",
    );
    // Not at once: of two Go nodes that read the same leases, each may draw the other's subnet.
    for (const machine of machines.all) await machine.run("systemctl start flanneld");
    await attachAll(machines);
    await expectMachineMesh(machines);
  }, 300_000);

  afterAll(async () => {
    await machines?.[Symbol.asyncDispose]();
    rmSync(release, { recursive: true, force: true });
  }, 60_000);

  test("change by another executable in the same unit", async () => {
    await change(machines.at(1), {
      script: `
        cp /usr/local/bin/flanneld /usr/local/bin/flanneld.go
        install -m 755 /opt/flanneld /usr/local/bin/flanneld.new
        mv /usr/local/bin/flanneld.new /usr/local/bin/flanneld
        systemctl restart flanneld`,
      program: "/opt/flanneld",
    });
  }, 120_000);

  test("change by install.sh, which replaces the unit", async () => {
    const two = machines.at(2);
    await change(two, {
      script: `FLANNELD_ETCD_ENDPOINTS=${ENDPOINT} FLANNELD_IFACE=eth1 FLANNELD_IP_MASQ=true \\
        sh /root/release/install.sh --from /root/release --node`,
      program: "/opt/flanneld",
    });
    expect(await unitProperty(two, "KillMode")).toBe("process");
  }, 120_000);

  test("change back by the former executable", async () => {
    await change(machines.at(1), {
      script: "mv /usr/local/bin/flanneld.go /usr/local/bin/flanneld; systemctl restart flanneld",
      program: "/usr/local/bin/flanneld",
    });
    await expectMachineMesh(machines);
  }, 120_000);

  /** No packet is lost, and the machine keeps its device and its subnet. */
  async function change(
    machine: Machine,
    { script, program }: { readonly script: string; readonly program: string },
  ): Promise<void> {
    const before = await identityOf(machine);
    const other = machines.all.find((one) => one !== machine) as Machine;
    const pings = [await pingWorkload(machine, other), await pingWorkload(other, machine)];
    await machine.run(script);
    await eventually(`flanneld is ready on ${machine.name}`, 60_000, async () => {
      return await unitProperty(machine, "ActiveState") === "active";
    });
    const running = `/proc/${await unitProperty(machine, "MainPID")}/exe`;
    await machine.run(`cmp ${running} ${program}`);
    await Bun.sleep(1_000); // Both programs repair what differs after they are ready.
    for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
    expect(await identityOf(machine)).toBe(before);
  }
});

/** The index and the MAC address of the device, and the subnet. */
async function identityOf(machine: Machine): Promise<string> {
  return await machine.run(
    "cat /sys/class/net/flannel.1/ifindex /sys/class/net/flannel.1/address " +
      "/run/flannel/subnet.env",
  );
}
