/** Large numbers of routes use nexthop objects, which the kernel port hides. */

import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { NetlinkSocket } from "../../src/kernel/wire/netlink_socket.ts";
import { resourceText } from "../../src/state/resource_text.ts";
import type { Route } from "../../src/state/resource.ts";
import type { Step } from "../../src/state/step.ts";
import {
  collect,
  find,
  remove,
  route,
  run,
  runJson,
  Sandbox,
  set,
  until,
  vxlan,
} from "./netlink_support.ts";

let sandbox: Sandbox;
beforeEach(async () => {
  sandbox = new Sandbox();
  expect(await set(sandbox.kernel, vxlan())).toBeUndefined();
});
afterEach(() => sandbox[Symbol.dispose]());

test("2000 routes at once use nexthop objects, and are dumped and announced as usual", async () => {
  using watch = collect(sandbox.kernel);
  const routes = peerRoutes(2000);
  await setAll(routes);
  expect(nexthopIds().length).toBe(2000);
  expect(run("ip route show 10.5.7.0/24").trim()).toBe(
    `10.5.7.0/24 nhid ${0x0a050700} via 10.5.7.0 dev flannel.1 proto 70 onlink`,
  );
  const wanted = routes.map(resourceText).sort();
  expect(await ourRoutes()).toEqual(wanted);
  const announced = () =>
    watch.events.flatMap((event) =>
      event.kind === "changed" && event.resource.kind === "route" && !event.deleted &&
        event.resource.protocol === 70
        ? [resourceText(event.resource)]
        : []
    );
  expect(await until(() => announced().length >= 2000)).toBe(true);
  expect(announced().sort()).toEqual(wanted);
});

test("fewer routes, and routes that are not onlink, do not use nexthop objects", async () => {
  await setAll(peerRoutes(499));
  const direct = peerRoutes(600, 6).map((peer) => ({
    ...peer,
    link: "under0",
    gateway: "192.0.2.3" as Route["gateway"] & string,
    onlink: false,
  }));
  await setAll(direct);
  expect(nexthopIds()).toEqual([]);
  expect((await ourRoutes()).length).toBe(1099);
});

test("a route is deleted only by its own gateway, and later its nexthop object", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  const [first, second] = routes as [Route, Route];
  expect(await remove(sandbox.kernel, { ...first, gateway: second.gateway as never }))
    .toBeUndefined();
  expect(await remove(sandbox.kernel, { ...first, protocol: 71 })).toBeUndefined();
  expect(await find(sandbox.kernel, first)).toEqual(first);
  expect(await remove(sandbox.kernel, first)).toBeUndefined();
  expect(await find(sandbox.kernel, first)).toBeUndefined();
  expect(await remove(sandbox.kernel, first)).toBeUndefined();
  await applyAll(routes.map((resource) => ({ op: "delete", resource })));
  expect(await ourRoutes()).toEqual([]);
  expect(nexthopIds()).toEqual([]);
});

test("a nexthop object that another program's route uses is left alone", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  const id = nexthopIds()[0] as number;
  run(`ip route add 172.30.0.0/16 nhid ${id} table 99`);
  await applyAll(routes.map((resource) => ({ op: "delete", resource })));
  expect(nexthopIds()).toEqual([id]);
  expect(run("ip route show table 99")).toStartWith(`172.30.0.0/16 nhid ${id} via`);
});

test("a route changes to a direct one and to another gateway in place, without a gap", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  const [first, second] = routes as [Route, Route];
  const direct = route(first.destination, { gateway: "192.0.2.3", link: "under0" });
  const moved = { ...second, gateway: "10.5.1.9" as never };
  using watch = collect(sandbox.kernel);
  expect(await set(sandbox.kernel, direct)).toBeUndefined();
  expect(await set(sandbox.kernel, moved)).toBeUndefined();
  expect(await find(sandbox.kernel, first)).toEqual(direct);
  expect(await find(sandbox.kernel, second)).toEqual(moved);
  const isTold = (one: Route) =>
    watch.events.some((event) => Bun.deepMatch({ resource: one, deleted: false }, event));
  expect(await until(() => isTold(direct) && isTold(moved))).toBe(true);
  await Bun.sleep(50);
  const removed = watch.events.filter((event) => event.kind !== "changed" || event.deleted);
  expect(removed).toEqual([]);
});

test("many routes at once replace plain ones, but not if they are exclusive", async () => {
  const routes = peerRoutes(600);
  run("ip route add 10.5.0.0/24 dev under0");
  await setAll(routes.slice(1, 3));
  const results = await sandbox.kernel.apply(
    routes.map((resource) => ({ op: "set", resource, exclusive: true })),
  );
  const refused = results.flatMap((result, i) => result === undefined ? [] : [[i, result.errno]]);
  expect(refused).toEqual([[0, "EEXIST"], [1, "EEXIST"], [2, "EEXIST"]]);
  await applyAll(routes.map((resource) => ({ op: "set", resource })));
  expect(await ourRoutes()).toEqual(routes.map(resourceText).sort());
  expect(run("ip route show 10.5.0.0/24").split("\n").length).toBe(2);
});

test("another program's nexthop object with the id of a gateway is left alone", async () => {
  const routes = peerRoutes(600);
  const ids = routes.slice(0, 3).map((_, i) => 0x0a050000 + i * 256);
  run(`ip nexthop add id ${ids[0]} via 192.0.2.9 dev under0`);
  run(`ip nexthop add id ${ids[1]} via 10.5.1.0 dev flannel.1 onlink proto 99`);
  run(`ip nexthop add id ${ids[2]} blackhole`);
  run(`ip route add 172.30.0.0/16 nhid ${ids[0]}`);
  const before = ids.map((id) => run(`ip nexthop show id ${id}`));
  await setAll(routes);
  expect(run("ip route show 10.5.0.0/24")).toStartWith("10.5.0.0/24 via 10.5.0.0 dev flannel.1");
  expect(await ourRoutes()).toEqual(routes.map(resourceText).sort());
  await applyAll(routes.map((resource) => ({ op: "delete", resource })));
  expect(await ourRoutes()).toEqual([]);
  expect(ids.map((id) => run(`ip nexthop show id ${id}`))).toEqual(before);
  expect(run("ip route show 172.30.0.0/16")).toStartWith(`172.30.0.0/16 nhid ${ids[0]}`);
});

test("after a restart, routes are replaced and deleted, and their objects used again", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  run("ip route del 10.5.0.0/24");
  using second = new NetlinkKernel({ clock: systemClock });
  const [first] = routes as [Route];
  await applyAll(routes.map((resource) => ({ op: "set", resource })), second);
  expect(await ourRoutes()).toEqual(routes.map(resourceText).sort());
  expect(run(`ip route show ${first.destination}`)).toContain(" nhid ");
  const direct = route(first.destination, { gateway: "192.0.2.3", link: "under0" });
  expect(await set(second, direct)).toBeUndefined();
  await applyAll(routes.slice(1).map((resource) => ({ op: "delete", resource })), second);
  expect(await ourRoutes()).toEqual([resourceText(direct)]);
  expect(nexthopIds()).toEqual([]);
});

test("after a restart, a peer that leaves costs no dump, and its object is found", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  using kernel = new NetlinkKernel({ clock: systemClock });
  const dumps = spyOn(NetlinkSocket.prototype, "dump");
  try {
    for (const one of routes.slice(0, 20)) expect(await remove(kernel, one)).toBeUndefined();
    const [moved, absent] = [routes[20] as Route, routes[0] as Route];
    expect(await set(kernel, { ...moved, gateway: "10.5.1.9" as never })).toBeUndefined();
    expect(await remove(kernel, absent)).toBeUndefined();
    expect(dumps).not.toHaveBeenCalled();
  } finally {
    dumps.mockRestore();
  }
  expect((await ourRoutes()).length).toBe(580);
  expect(nexthopIds().length).toBe(600);
  // Many of them are worth a dump, after which all unused objects go.
  const rest = routes.slice(21).map((resource) => ({ op: "delete" as const, resource }));
  expect((await kernel.apply(rest)).filter((error) => error !== undefined)).toEqual([]);
  expect((await ourRoutes()).length).toBe(1);
  expect(nexthopIds()).toEqual([]);
});

test("the deletion of a nexthop object is an overrun, as it deletes routes silently", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  using watch = collect(sandbox.kernel);
  run(`ip nexthop del id ${0x0a050000}`);
  // The kernel may not have announced the sandbox's own address yet.
  expect(await until(() => watch.events.some(({ kind }) => kind === "overrun"))).toBe(true);
  expect(await find(sandbox.kernel, routes[0] as Route)).toBeUndefined();
});

test("our own deletions, and other programs' nexthop objects, are not an overrun", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  using watch = collect(sandbox.kernel);
  run("ip nexthop add id 7 via 192.0.2.9 dev under0");
  run("ip nexthop del id 7");
  await applyAll(routes.map((resource) => ({ op: "delete", resource })));
  const deletions = () =>
    watch.events.filter((event) =>
      event.kind === "changed" && event.deleted && event.resource.kind === "route"
    );
  expect(await until(() => deletions().length >= 600)).toBe(true);
  await Bun.sleep(50);
  expect(watch.events.filter((event) => event.kind === "overrun")).toEqual([]);
  expect(nexthopIds()).toEqual([]);
});

test("unused nexthop objects are deleted once they are a twentieth of all", async () => {
  const routes = peerRoutes(1000);
  await setAll(routes);
  const through = (gateway: string) => ({ ...routes[0] as Route, gateway: gateway as never });
  // A route that is replaced, and 48 that are deleted.
  expect(await set(sandbox.kernel, through("10.5.0.9"))).toBeUndefined();
  for (const unused of routes.slice(1, 49)) {
    expect(await remove(sandbox.kernel, unused)).toBeUndefined();
  }
  expect(nexthopIds().length).toBe(1000);
  expect(await remove(sandbox.kernel, routes[49] as Route)).toBeUndefined();
  expect(nexthopIds().length).toBe(950);
  expect(await find(sandbox.kernel, routes[0] as Route)).toEqual(through("10.5.0.9"));
  // An unused one is used again.
  expect(await remove(sandbox.kernel, routes[50] as Route)).toBeUndefined();
  expect(nexthopIds().length).toBe(950);
  await setAll(routes.slice(50));
  expect(nexthopIds().length).toBe(950);
  expect(run(`ip route show ${routes[50]?.destination}`)).toContain(" nhid ");
  await applyAll(routes.map((resource) => ({ op: "delete", resource })));
  expect(nexthopIds()).toEqual([]);
});

test("a route whose nexthop object was deleted is created without it, and deleted", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  const [first, second] = routes as [Route, Route];
  expect(await remove(sandbox.kernel, second)).toBeUndefined();
  run(`ip nexthop del id ${0x0a050000}`);
  expect(await set(sandbox.kernel, first, true)).toBeUndefined();
  expect(run(`ip route show ${first.destination}`)).not.toContain("nhid");
  expect(await remove(sandbox.kernel, first)).toBeUndefined();
  expect(await find(sandbox.kernel, first)).toBeUndefined();
});

test("other programs replace and delete such a route, and it is created again", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  const [first, second] = routes as [Route, Route];
  run("ip route replace 10.5.0.0/24 via 10.5.0.0 dev flannel.1 onlink proto 70");
  run("ip route del 10.5.1.0/24");
  expect(await find(sandbox.kernel, first)).toEqual(first);
  expect(run("ip route show 10.5.0.0/24")).not.toContain("nhid");
  expect(await set(sandbox.kernel, second, true)).toBeUndefined();
  expect(await find(sandbox.kernel, second)).toEqual(second);
});

test("routes and nexthop objects are deleted with their device, and created again", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  await remove(sandbox.kernel, vxlan());
  expect(nexthopIds()).toEqual([]);
  await applyAll([
    { op: "set", resource: vxlan() },
    ...routes.map((resource) => ({ op: "set", resource, exclusive: true } as const)),
  ]);
  expect(await ourRoutes()).toEqual(routes.map(resourceText).sort());
  expect(nexthopIds().length).toBe(600);
});

test("routes and nexthop objects survive when the underlay loses its carrier", async () => {
  const routes = peerRoutes(600);
  await setAll(routes);
  run("ip link set under1 down");
  // The kernel announces it a moment later (net/core/link_watch.c).
  expect(await until(() => run("ip link show under0").includes("NO-CARRIER"))).toBe(true);
  expect(await ourRoutes()).toEqual(routes.map(resourceText).sort());
  expect(nexthopIds().length).toBe(600);
});

test("if the kernel hides the gateways of such routes, none are created", async () => {
  // By this thread: only it is in the sandbox.
  writeFileSync("/proc/sys/net/ipv4/nexthop_compat_mode", "0");
  const routes = peerRoutes(600);
  await setAll(routes);
  expect(nexthopIds()).toEqual([]);
  expect(await ourRoutes()).toEqual(routes.map(resourceText).sort());
});

/** Routes to 10.5.0.0/24 and up, each through the first address of its destination. */
function peerRoutes(count: number, second = 5): Route[] {
  return Array.from({ length: count }, (_, i) => {
    const gateway = `10.${second + (i >> 8) * 10}.${i & 255}.0`;
    return route(`${gateway}/24`, { gateway, onlink: true });
  });
}

function setAll(routes: readonly Route[]): Promise<void> {
  return applyAll(routes.map((resource) => ({ op: "set", resource })));
}

async function applyAll(steps: readonly Step[], kernel = sandbox.kernel): Promise<void> {
  const results = await kernel.apply(steps);
  expect(results.filter((result) => result !== undefined)).toEqual([]);
}

async function ourRoutes(): Promise<string[]> {
  const resources = await sandbox.kernel.dump(["route"]);
  return resources.filter((resource) => resource.kind === "route" && resource.protocol === 70)
    .map(resourceText).sort();
}

function nexthopIds(): number[] {
  return runJson("ip -j nexthop show proto 70").map(({ id }) => id as number);
}
