/** ipip tunnels and FOU ports in the real kernel, inspected with `ip`. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { KernelEvent } from "../../src/kernel/kernel.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { type FouPort, type IpipLink, type Link, NO_MAC } from "../../src/state/resource.ts";
import {
  address,
  collect,
  find,
  remove,
  route,
  run,
  runJson,
  Sandbox,
  set,
  until,
} from "../netns/netlink_support.ts";

let sandbox: Sandbox;
beforeEach(() => void (sandbox = new Sandbox()));
afterEach(() => sandbox[Symbol.dispose]());

function ipip(changes: Partial<IpipLink> = {}): IpipLink {
  return {
    kind: "link",
    type: "ipip",
    name: "flannel.ipip",
    mtuBytes: 1480,
    mac: NO_MAC,
    up: true,
    local: "192.0.2.1" as IpAddress,
    ...changes,
  };
}

function fouPort(port: number, protocol = 4): FouPort {
  return { kind: "fou", port, protocol };
}

/** The events about FOU ports. */
function fouEvents(events: readonly KernelEvent[]): KernelEvent[] {
  return events.filter((event) => event.kind === "changed" && event.resource.kind === "fou");
}

test("a bare tunnel equals one of `ip link add type ipip local A`, and reads back", async () => {
  const { kernel } = sandbox;
  expect(await set(kernel, ipip())).toBeUndefined();
  expect(await find(kernel, ipip())).toEqual(ipip());
  const [shown] = runJson("ip -j -d link show flannel.ipip");
  expect(shown?.["mtu"]).toBe(1480);
  expect(shown?.["flags"]).toContain("UP");
  const { info_kind, info_data } = shown?.["linkinfo"] as Record<string, Record<string, unknown>>;
  expect(info_kind as unknown).toBe("ipip");
  expect(info_data).toMatchObject({ remote: "any", local: "192.0.2.1", ttl: 0, pmtudisc: false });
  expect(info_data?.["encap"]).toBeUndefined();
});

test("a tunnel in UDP is created with one port for both ends, and reads back", async () => {
  const { kernel } = sandbox;
  const tunnel = ipip({ name: "flannel0", mtuBytes: 1472, fouPort: 8285 });
  expect(await set(kernel, tunnel)).toBeUndefined();
  expect(await find(kernel, tunnel)).toEqual(tunnel);
  const [shown] = runJson("ip -j -d link show flannel0");
  const { info_data } = shown?.["linkinfo"] as { info_data: { encap: unknown } };
  expect(info_data.encap).toMatchObject({ type: "fou", sport: 8285, dport: 8285 });
});

test("MTU and state are changed in place, and the tunnel is deleted", async () => {
  const { kernel } = sandbox;
  await set(kernel, ipip());
  const { ifindex } = await kernel.link("flannel.ipip") ?? {};
  const changed = ipip({ mtuBytes: 1400, up: false });
  expect(await kernel.apply([{ op: "change", resource: changed, from: ipip() }]))
    .toEqual([undefined]);
  expect(await kernel.link("flannel.ipip")).toEqual({ ifindex: ifindex as number, link: changed });
  expect(await remove(kernel, changed)).toBeUndefined();
  expect(await kernel.link("flannel.ipip")).toBeUndefined();
});

test("a route leads through a tunnel to a host that no route says is on it", async () => {
  const { kernel } = sandbox;
  const through = route("10.5.2.0/24", {
    gateway: "192.0.2.2",
    link: "flannel.ipip",
    onlink: true,
  });
  const steps = [ipip(), address("10.5.1.0", 32, "flannel.ipip"), through];
  expect(await kernel.apply(steps.map((resource) => ({ op: "set", resource }))))
    .toEqual([undefined, undefined, undefined]);
  expect(await find(kernel, through)).toEqual(through);
});

test("a tunnel that does not send by the routes is not read as one of ours", async () => {
  const { kernel } = sandbox;
  run("ip link add fixed type ipip local 192.0.2.1 remote 192.0.2.2");
  run("ip link add external type ipip external");
  run("ip link add gue type ipip local 192.0.2.3 encap gue encap-sport 1 encap-dport 1");
  run("ip link add auto type ipip local 192.0.2.4 encap fou encap-sport auto encap-dport 8285");
  for (const name of ["fixed", "external", "gue", "auto"]) {
    expect((await kernel.link(name))?.link).toMatchObject({ type: "other", linkKind: "ipip" });
  }
});

test("the fallback device of the module has no address that ours could have", async () => {
  const { kernel } = sandbox;
  await set(kernel, ipip());
  const links = await kernel.dump(["link"]) as Link[];
  const tunl0 = links.find(({ name }) => name === "tunl0");
  expect(tunl0).toMatchObject({ type: "ipip", local: "0.0.0.0" });
});

test("a second tunnel from one address is refused with a reason", async () => {
  const { kernel } = sandbox;
  await set(kernel, ipip());
  const error = await set(kernel, ipip({ name: "flannel0", fouPort: 8285 }));
  expect(error?.errno).toBe("EEXIST");
  expect(error?.message).toContain("another tunnel from this address to any remote");
});

test("FOU ports are opened, found, left as they are, and closed", async () => {
  const { kernel } = sandbox;
  expect(await kernel.dump(["fou"])).toEqual([]);
  for (let times = 0; times < 2; times++) {
    expect(await set(kernel, fouPort(8285))).toBeUndefined();
    expect(await kernel.dump(["fou"])).toEqual([fouPort(8285)]);
    expect(run("ip fou show")).toContain("port 8285 ipproto 4");
  }
  for (let times = 0; times < 2; times++) {
    expect(await remove(kernel, fouPort(8285))).toBeUndefined();
    expect(await kernel.dump(["fou"])).toEqual([]);
  }
});

test("a FOU port for another protocol is opened again", async () => {
  const { kernel } = sandbox;
  run("ip fou add port 8285 ipproto 47");
  expect(await kernel.dump(["fou"])).toEqual([fouPort(8285, 47)]);
  expect(await set(kernel, fouPort(8285))).toBeUndefined();
  expect(run("ip fou show")).toContain("port 8285 ipproto 4");
});

test("a port that a program has, or that is made for GUE, is refused with a reason", async () => {
  const { kernel } = sandbox;
  run("ip fou add port 6080 gue");
  expect(await kernel.dump(["fou"])).toEqual([]);
  const taken = await Bun.udpSocket({ hostname: "0.0.0.0", port: 8285 });
  for (const port of [6080, 8285]) {
    const error = await set(kernel, fouPort(port));
    expect(error?.errno).toBe("EADDRINUSE");
    expect(error?.message).toContain(`UDP port ${port}`);
  }
  taken.close();
  expect(await set(kernel, fouPort(8285))).toBeUndefined();
});

test("a FOU port that another program opens or closes is notified within seconds", async () => {
  const { kernel } = sandbox;
  using watch = collect(kernel);
  await kernel.dump(["fou"]);
  await set(kernel, fouPort(8285));
  run("ip fou add port 8286 ipproto 4");
  expect(await until(() => fouEvents(watch.events).length > 0, 20_000)).toBe(true);
  run("ip fou del port 8285");
  expect(await until(() => fouEvents(watch.events).length > 1, 20_000)).toBe(true);
  expect(fouEvents(watch.events)).toEqual([
    { kind: "changed", resource: fouPort(8286), deleted: false },
    { kind: "changed", resource: fouPort(8285), deleted: true },
  ]);
});

test("entries of one kernel object are found by a new one", async () => {
  const { kernel } = sandbox;
  await kernel.apply([{ op: "set", resource: fouPort(8285) }, { op: "set", resource: ipip() }]);
  using second = new NetlinkKernel({ clock: systemClock });
  expect(await second.dump(["fou"])).toEqual([fouPort(8285)]);
  expect((await second.link("flannel.ipip"))?.link).toEqual(ipip());
});
