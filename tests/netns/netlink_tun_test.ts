/** TUN devices in the real kernel, inspected with `ip`. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync } from "node:fs";
import { attachTun, SystemError } from "../../ffi/tun_device.ts";
import { KernelError } from "../../src/kernel/kernel.ts";
import { type Link, NO_MAC, type TunLink } from "../../src/state/resource.ts";
import { collect, find, remove, run, runJson, Sandbox, set, until } from "./netlink_support.ts";

let sandbox: Sandbox;
beforeEach(() => void (sandbox = new Sandbox()));
afterEach(() => sandbox[Symbol.dispose]());

const TUN: TunLink = {
  kind: "link",
  type: "tun",
  name: "flannel0",
  mtuBytes: 1472,
  mac: NO_MAC,
  up: true,
};

test("a device is persistent, like one of `ip tuntap add mode tun`, and reads back", async () => {
  const { kernel } = sandbox;
  expect(await set(kernel, TUN)).toBeUndefined();
  expect(await find(kernel, TUN)).toEqual(TUN);
  const [shown] = runJson("ip -j -d link show flannel0");
  expect(shown?.["mtu"]).toBe(1472);
  expect(shown?.["linkinfo"]).toMatchObject({
    info_kind: "tun",
    info_data: { type: "tun", pi: false, vnet_hdr: false, multi_queue: false, persist: true },
  });
});

test("another device of the same name is not replaced", async () => {
  const { kernel } = sandbox;
  for (const mode of ["tun", "tap"]) {
    run(`ip tuntap add dev flannel0 mode ${mode}`);
    const error = await set(kernel, TUN);
    expect(error).toBeInstanceOf(KernelError);
    expect(error?.errno).toBe("EEXIST");
    run("ip link del flannel0");
  }
});

test("MTU and state are changed in place; deleting it twice is not an error", async () => {
  const { kernel } = sandbox;
  await set(kernel, TUN);
  const resource = { ...TUN, mtuBytes: 1300, up: false };
  expect(await kernel.apply([{ op: "change", from: TUN, resource }])).toEqual([undefined]);
  expect(await find(kernel, TUN)).toEqual(resource);
  expect(await remove(kernel, TUN)).toBeUndefined();
  expect(await remove(kernel, TUN)).toBeUndefined();
  expect(await find(kernel, TUN)).toBeUndefined();
});

test.each([
  ["of Ethernet frames", "ip tuntap add dev flannel0 mode tap"],
  ["with packet information", "ip tuntap add dev flannel0 mode tun pi"],
  ["with several queues", "ip tuntap add dev flannel0 mode tun multi_queue"],
])("a device %s is read as another kind", async (_name, command) => {
  run(command);
  expect((await find(sandbox.kernel, TUN) as Link).type).toBe("other");
});

test("its creation and its deletion are announced", async () => {
  const { kernel } = sandbox;
  using collected = collect(kernel);
  await set(kernel, TUN);
  const isTold = (deleted: boolean) => () =>
    collected.events.some((event) =>
      event.kind === "changed" && event.deleted === deleted && event.resource.kind === "link" &&
      event.resource.name === "flannel0" && event.resource.type === "tun"
    );
  expect(await until(isTold(false))).toBe(true);
  run("ip link del flannel0");
  expect(await until(isTold(true))).toBe(true);
});

test("one process at a time can attach to it, and attaching creates none", async () => {
  expect(attachTun("flannel0")).toBeUndefined();
  expect(runJson("ip -j link show type tun")).toEqual([]);
  await set(sandbox.kernel, TUN);
  const fd = attachTun("flannel0") as number;
  try {
    expect(() => attachTun("flannel0")).toThrow(SystemError);
  } finally {
    closeSync(fd);
  }
  closeSync(attachTun("flannel0") as number);
  expect(await find(sandbox.kernel, TUN)).toEqual(TUN);
});
