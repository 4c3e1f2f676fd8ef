import { describe, expect, test } from "bun:test";
import { mayAdopt, owns } from "../../../src/state/ownership.ts";
import { decide, type Decision, orderSteps } from "../../../src/state/plan.ts";
import { linkKey, resourceKey } from "../../../src/state/resource_key.ts";
import type { Link, Resource } from "../../../src/state/resource.ts";
import type { Step } from "../../../src/state/step.ts";
import {
  address,
  directRoute,
  fdb,
  foreignRoute,
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { stepText } from "../../support/fake_kernel.ts";
import { ETH0, mac, prefix } from "../../support/sample_network.ts";

interface Plan {
  readonly steps: readonly Step[];
  readonly conflicts: readonly Decision[];
  readonly recreated: readonly string[];
}

/** The decision for each key, in the order of one batch. */
function planOf(
  desired: readonly Resource[],
  actual: readonly Resource[],
  { maySweep } = { maySweep: true },
): Plan {
  const found = new Map(actual.map((resource) => [resourceKey(resource), resource]));
  const wanted = new Map(desired.map((resource) => [resourceKey(resource), resource]));
  const decisions = [...new Set([...wanted.keys(), ...found.keys()])].map((key) => {
    const held = found.get(key);
    return decide({
      desired: wanted.get(key),
      actual: held,
      isOurs: held !== undefined &&
        owns(held, OWNERSHIP, (name) => found.get(linkKey(name)) as Link | undefined),
      isAdoptable: held !== undefined && mayAdopt(held, OWNERSHIP),
      maySweep,
    });
  });
  return {
    steps: orderSteps(decisions.flatMap((one) => "steps" in one ? one.steps : [])),
    conflicts: decisions.filter(({ kind }) => kind === "conflict"),
    recreated: decisions.flatMap((one) => one.kind === "recreate" ? [one.reason] : []),
  };
}

function steps(desired: readonly Resource[], actual: readonly Resource[]): string[] {
  return planOf(desired, actual).steps.map(stepText);
}

const DEVICE = vxlanDevice("flannel.1");

describe("decide() and orderSteps()", () => {
  test("creates devices, addresses, neighbours and routes in this order", () => {
    expect(steps([tunnelRoute(2), fdb(2, 2), neighbour(2, 2), address(1), DEVICE], [])).toEqual([
      "set link flannel.1: mtu 1450 state up address 02:00:00:00:00:01 type vxlan id 1 " +
      "local 192.168.0.1 dev eth0 dstport 8472 nolearning",
      "set addr 10.5.1.0/32 dev flannel.1",
      "set fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent",
      "set neigh 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
      "set route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink",
    ]);
  });

  test("deletes in the reverse order, after the creations", () => {
    const stale = [vxlanDevice("flannel-v6.1"), address(3), neighbour(3, 3), tunnelRoute(3)];
    expect(steps([DEVICE, address(1)], [DEVICE, ...stale])).toEqual([
      "set addr 10.5.1.0/32 dev flannel.1",
      "delete route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 70 onlink",
      "delete neigh 10.5.3.0 lladdr 02:00:00:00:00:03 dev flannel.1 nud permanent",
      "delete addr 10.5.3.0/32 dev flannel.1",
      "delete link flannel-v6.1: mtu 1450 state up address 02:00:00:00:00:01 type vxlan id 1 " +
      "local fd00::1 dev eth0 dstport 8472 nolearning",
    ]);
  });

  test("replaces a route when a peer becomes directly reachable", () => {
    const { steps } = planOf([directRoute(2)], [DEVICE, tunnelRoute(2)], { maySweep: false });
    expect(steps).toEqual([{ op: "set", resource: directRoute(2) }]);
  });

  test("creates a route exclusively, so that it does not replace one of another program", () => {
    expect(planOf([directRoute(2)], []).steps).toEqual([
      { op: "set", resource: directRoute(2), exclusive: true },
    ]);
  });

  test("creates only routes and policies exclusively, whose tables are shared with others", () => {
    const made = planOf([DEVICE, address(1), neighbour(2, 2), fdb(2, 2)], []).steps;
    expect(made.map((step) => step.op === "set" && step.exclusive)).toEqual(Array(4).fill(false));
  });

  test("does nothing about an entry that is neither desired nor present", () => {
    const nothing = { desired: undefined, actual: undefined, isAdoptable: true };
    expect(decide({ ...nothing, isOurs: true, maySweep: true })).toEqual({ kind: "keep" });
  });

  test("sets a sysctl over any other value, and never deletes it", () => {
    const sysctl: Resource = { kind: "sysctl", path: "net/ipv6/conf/a/accept_ra", value: "0" };
    const other: Resource = { ...sysctl, value: "1" };
    expect(planOf([sysctl], [other]).steps).toEqual([{ op: "set", resource: sysctl }]);
    expect(planOf([], [other]).steps).toEqual([]);
  });

  test("is an action when entries are set or deleted", () => {
    const other = { ...neighbour(2, 2), mac: mac(9) };
    const at = { isOurs: true, isAdoptable: false, maySweep: true };
    expect([
      decide({ desired: undefined, actual: other, ...at }),
      decide({ desired: neighbour(2, 2), actual: other, ...at }),
    ]).toEqual([
      { kind: "act", steps: [{ op: "delete", resource: other }] },
      { kind: "act", steps: [{ op: "set", resource: neighbour(2, 2) }] },
    ]);
  });

  test("leaves a foreign route with our key alone and reports a conflict", () => {
    const result = planOf([directRoute(2)], [foreignRoute(2)]);
    expect(result.steps).toEqual([]);
    expect(result.conflicts).toMatchObject([{ desired: directRoute(2), holder: foreignRoute(2) }]);
  });

  test("adopts the route that Go flannel's host-gw created", () => {
    const theirs = directRoute(2, 3);
    expect(planOf([directRoute(2)], [theirs]).steps).toEqual([
      { op: "set", resource: directRoute(2) },
    ]);
  });

  test("never sweeps a boot route, because an administrator may have created it", () => {
    expect(planOf([], [directRoute(2, 3)]).steps).toEqual([]);
  });

  test("sweeps our route by an interface that was the external one in a previous run", () => {
    const stale = { ...directRoute(2), link: "eth7" };
    expect(planOf([], [stale]).steps).toEqual([{ op: "delete", resource: stale }]);
    expect(planOf([], [stale], { maySweep: false }).steps).toEqual([]);
  });

  test("leaves our protocol number alone outside our networks", () => {
    expect(planOf([], [{ ...directRoute(2), destination: prefix("10.7.2.0/24") }]).steps).toEqual(
      [],
    );
  });

  test("adopts a vxlan device of another program and changes it in place where possible", () => {
    const found = { ...DEVICE, mtuBytes: 1400, up: false } as Link;
    expect(planOf([DEVICE], [found]).steps).toEqual([
      { op: "change", resource: DEVICE, from: found },
    ]);
  });

  test("treats port 0 as the kernel's default", () => {
    expect(planOf([{ ...DEVICE, port: 0 } as Link], [DEVICE]).steps).toEqual([]);
  });

  test("recreates an incompatible device, with the reason", () => {
    const found = { ...DEVICE, port: 4789, gbp: true } as Link;
    const result = planOf([DEVICE], [found]);
    expect(result.recreated).toEqual(["port is 4789, not 8472, GBP is true, not false"]);
    expect(result.steps).toEqual([
      { op: "delete", resource: found },
      { op: "set", resource: DEVICE },
    ]);
  });

  test("leaves a bridge with our device's name and all entries on it alone", () => {
    const bridge: Link = { ...ETH0, name: "flannel.1", linkKind: "bridge" };
    const result = planOf([DEVICE], [bridge, address(3), tunnelRoute(3)]);
    expect(result.steps).toEqual([]);
    expect(result.conflicts).toMatchObject([{ holder: bridge }]);
  });

  test("deletes nothing stale before it may", () => {
    const stale = [DEVICE, address(3), neighbour(3, 3), fdb(3, 3), tunnelRoute(3)];
    expect(planOf([], stale, { maySweep: false }).steps).toEqual([]);
    expect(planOf([], stale).steps).toHaveLength(5);
  });

  test("changes a forwarding entry in one step", () => {
    expect(planOf([DEVICE, fdb(2, 3)], [DEVICE, fdb(2, 2)]).steps).toEqual([
      { op: "set", resource: fdb(2, 3) },
    ]);
  });
});

test("decide() changes a vxlan device's MAC in place", () => {
  expect(planOf([DEVICE], [{ ...DEVICE, mac: mac(7) }]).steps).toMatchObject([{ op: "change" }]);
});
