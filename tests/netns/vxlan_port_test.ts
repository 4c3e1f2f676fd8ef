/** Programs and devices that use the port or VNI of a vxlan device, as another VXLAN stack. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { localMac } from "../../src/addr/mac.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { runProgram } from "../../src/process/run_program.ts";
import type { VxlanLink } from "../../src/state/resource.ts";
import { ip } from "../support/sample_network.ts";

const UNDERLAY = "fl-port0";
const LINK: VxlanLink = {
  kind: "link",
  type: "vxlan",
  name: "fl-port",
  mtuBytes: 1450,
  mac: localMac(new Uint8Array(6)),
  up: true,
  vni: 1,
  local: ip("192.168.0.1"),
  underlay: UNDERLAY,
  port: 0,
  learning: false,
  gbp: false,
};

const underlay = async (op: "add" | "del") => {
  const { stderr } = await runProgram("ip", [
    "link",
    op,
    UNDERLAY,
    ...(op === "add" ? UP_BRIDGE : []),
  ]);
  expect(stderr).toBe("");
};
const UP_BRIDGE = ["up", "type", "bridge"];

test("a program is named when the device is created and when it is set up", async () => {
  await underlay("add");
  using kernel = new NetlinkKernel({ clock: systemClock });
  const reasonOf = async (...steps: Parameters<typeof kernel.apply>[0]) =>
    (await kernel.apply(steps)).map((error) => error?.reason);
  const program = await Bun.udpSocket({ hostname: "0.0.0.0", port: 8472 });
  const command = readFileSync("/proc/self/comm", "utf8").trim();
  const taken = `EADDRINUSE (a program on this host uses UDP port 8472: ${command} (process ` +
    `${process.pid}); end it, or set Port in the Backend object to a port that is free on every ` +
    "node)";
  expect(await reasonOf({ op: "set", resource: LINK })).toEqual([taken]);
  const down = { ...LINK, up: false };
  expect(await reasonOf({ op: "set", resource: down })).toEqual([undefined]);
  expect(await reasonOf({ op: "change", from: down, resource: LINK })).toEqual([taken]);
  program.close();
  expect(await reasonOf({ op: "change", from: down, resource: LINK })).toEqual([undefined]);
  await kernel.apply([{ op: "delete", resource: LINK }]);
  await underlay("del");
});

test("a device with the VNI, or with the port and other options, is named", async () => {
  await underlay("add");
  using kernel = new NetlinkKernel({ clock: systemClock });
  const reason = async () => (await kernel.apply([{ op: "set", resource: LINK }]))[0]?.reason;
  const other = async (options: string) => {
    const add = `ip link add other0 type vxlan ${options} dstport 8472 && ip link set other0 up`;
    expect((await runProgram("sh", ["-c", add])).stderr).toBe("");
  };
  await other(`id 1 dev ${UNDERLAY}`);
  expect(await reason()).toBe(
    "EEXIST (the device other0 has VNI 1 on UDP port 8472; delete it if it is not needed " +
      "(ip link del other0), or set another VNI in the Backend object)",
  );
  await runProgram("ip", ["link", "del", "other0"]);
  await other("external");
  expect(await reason()).toBe(
    "EADDRINUSE (the device other0 has UDP port 8472 with other options; delete it if it is not " +
      "needed (ip link del other0), or set Port in the Backend object to a port that is free on " +
      "every node)",
  );
  await runProgram("ip", ["link", "del", "other0"]);
  expect(await reason()).toBeUndefined();
  await kernel.apply([{ op: "delete", resource: LINK }]);
  await underlay("del");
});
