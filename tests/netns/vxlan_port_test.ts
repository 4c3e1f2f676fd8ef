/** A program that has the port of a vxlan device, as a second VXLAN stack in user space does. */

import { expect, test } from "bun:test";
import { localMac } from "../../src/addr/mac.ts";
import { NetlinkKernel } from "../../src/netlink/netlink_kernel.ts";
import { run } from "../../src/process/process.ts";
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

test("is told with how to find it, at the making of the device and when it is to be up", async () => {
  const { stderr } = await run("ip", ["link", "add", UNDERLAY, "up", "type", "bridge"]);
  expect(stderr).toBe("");
  using kernel = new NetlinkKernel();
  const reasonOf = async (...steps: Parameters<typeof kernel.apply>[0]) =>
    (await kernel.apply(steps)).map((error) => error?.reason);
  const program = await Bun.udpSocket({ hostname: "0.0.0.0", port: 8472 });
  const taken = "EADDRINUSE (a program on this host uses UDP port 8472; " +
    '"ss -ulnp sport = :8472" shows it)';
  expect(await reasonOf({ op: "set", resource: LINK })).toEqual([taken]);
  const down = { ...LINK, up: false };
  expect(await reasonOf({ op: "set", resource: down })).toEqual([undefined]);
  expect(await reasonOf({ op: "change", from: down, resource: LINK })).toEqual([taken]);
  program.close();
  expect(await reasonOf({ op: "change", from: down, resource: LINK })).toEqual([undefined]);
  await kernel.apply([{ op: "delete", resource: LINK }]);
  await run("ip", ["link", "del", UNDERLAY]);
});
