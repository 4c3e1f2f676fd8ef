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

/** What is decided for each key, in the order of one batch. */
function planOf(desired: readonly Resource[], actual: readonly Resource[], maySweep = true): Plan {
  const found = new Map(actual.map((resource) => [resourceKey(resource), resource]));
  const wanted = new Map(desired.map((resource) => [resourceKey(resource), resource]));
  const decisions = [...new Set([...wanted.keys(), ...found.keys()])].map((key) => {
    const held = found.get(key);
    return decide({
      desired: wanted.get(key),
      actual: held,
      ours: held !== undefined &&
        owns(held, OWNERSHIP, (name) => found.get(linkKey(name)) as Link | undefined),
      adoptable: held !== undefined && mayAdopt(held, OWNERSHIP),
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
  test("makes devices, addresses, neighbours and routes in this order", () => {
    expect(steps([tunnelRoute(2), fdb(2, 2), neighbour(2, 2), address(1), DEVICE], [])).toEqual([
      "set link flannel.1: mtu 1450 state up address 02:00:00:00:00:01 type vxlan id 1 " +
      "local 192.168.0.1 dev eth0 dstport 8472 nolearning",
      "set addr 10.5.1.0/32 dev flannel.1",
      "set fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent",
      "set neigh 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
      "set route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink",
    ]);
  });

  test("deletes in the reverse order, after what is made", () => {
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
    const { steps } = planOf([directRoute(2)], [DEVICE, tunnelRoute(2)], false);
    expect(steps).toEqual([{ op: "set", resource: directRoute(2) }]);
  });

  test("makes a new route exclusively, so that one made meanwhile by another is not replaced", () => {
    expect(planOf([directRoute(2)], []).steps).toEqual([
      { op: "set", resource: directRoute(2), exclusive: true },
    ]);
  });

  test("makes exclusively nothing but routes and policies, whose tables are shared with others", () => {
    const made = planOf([DEVICE, address(1), neighbour(2, 2), fdb(2, 2)], []).steps;
    expect(made.map((step) => step.op === "set" && step.exclusive)).toEqual(Array(4).fill(false));
  });

  test("does nothing about what is neither wanted nor there", () => {
    const nothing = { desired: undefined, actual: undefined, adoptable: true };
    expect(decide({ ...nothing, ours: true, maySweep: true })).toEqual({ kind: "keep" });
  });

  test("leaves a foreign route at our place alone and reports it", () => {
    const result = planOf([directRoute(2)], [foreignRoute(2)]);
    expect(result.steps).toEqual([]);
    expect(result.conflicts).toMatchObject([{ desired: directRoute(2), holder: foreignRoute(2) }]);
  });

  test("takes over the route that Go flannel's host-gw made", () => {
    const theirs = directRoute(2, 3);
    expect(planOf([directRoute(2)], [theirs]).steps).toEqual([
      { op: "set", resource: directRoute(2) },
    ]);
  });

  test("never sweeps a boot route, for an administrator may have made it", () => {
    expect(planOf([], [directRoute(2, 3)]).steps).toEqual([]);
  });

  test("sweeps our route by an interface that was the external one in an earlier life", () => {
    const stale = { ...directRoute(2), link: "eth7" };
    expect(planOf([], [stale]).steps).toEqual([{ op: "delete", resource: stale }]);
    expect(planOf([], [stale], false).steps).toEqual([]);
  });

  test("leaves our protocol number alone outside our networks", () => {
    expect(planOf([], [{ ...directRoute(2), destination: prefix("10.7.2.0/24") }]).steps).toEqual(
      [],
    );
  });

  test("adopts a vxlan device that somebody else made, changing what can be changed", () => {
    const found = { ...DEVICE, mtuBytes: 1400, up: false } as Link;
    expect(planOf([DEVICE], [found]).steps).toEqual([
      { op: "change", resource: DEVICE, from: found },
    ]);
  });

  test("takes port 0 for the kernel's default", () => {
    expect(planOf([{ ...DEVICE, port: 0 } as Link], [DEVICE]).steps).toEqual([]);
  });

  test("makes an incompatible device again, and says why", () => {
    const found = { ...DEVICE, port: 4789, gbp: true } as Link;
    const result = planOf([DEVICE], [found]);
    expect(result.recreated).toEqual(["port is 4789, not 8472, GBP is true, not false"]);
    expect(result.steps).toEqual([
      { op: "delete", resource: found },
      { op: "set", resource: DEVICE },
    ]);
  });

  test("leaves a bridge with our device's name alone, and all that is on it", () => {
    const bridge: Link = { ...ETH0, name: "flannel.1", linkKind: "bridge" };
    const result = planOf([DEVICE], [bridge, address(3), tunnelRoute(3)]);
    expect(result.steps).toEqual([]);
    expect(result.conflicts).toMatchObject([{ holder: bridge }]);
  });

  test("deletes nothing that is stale before it may", () => {
    const stale = [DEVICE, address(3), neighbour(3, 3), fdb(3, 3), tunnelRoute(3)];
    expect(planOf([], stale, false).steps).toEqual([]);
    expect(planOf([], stale).steps).toHaveLength(5);
  });

  test("leaves a changed forwarding entry to one step", () => {
    expect(planOf([DEVICE, fdb(2, 3)], [DEVICE, fdb(2, 2)]).steps).toEqual([
      { op: "set", resource: fdb(2, 3) },
    ]);
  });
});

test("a vxlan device's own MAC is not what tells devices apart", () => {
  expect(planOf([DEVICE], [{ ...DEVICE, mac: mac(7) }]).steps).toMatchObject([{ op: "change" }]);
});
