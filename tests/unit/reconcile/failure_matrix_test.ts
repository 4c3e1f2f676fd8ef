/**
 * Every scenario with every failure of the kernel. Whatever fails, the reconciler ends in sync as
 * soon as the failure does, leaves the entries of other programs alone, deletes nothing that is
 * desired, does not busy-loop, and then has nothing left to do.
 */

import { describe, expect, test } from "bun:test";
import { KernelError } from "../../../src/kernel/kernel.ts";
import { resourceText } from "../../../src/state/resource_text.ts";
import type { Link, Resource } from "../../../src/state/resource.ts";
import {
  address,
  fdb,
  foreignRoute,
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  UNDERLAY,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { NODE_ENTRIES, peerOf, ReconcilerScene } from "../../support/reconciler_scene.ts";

interface Scenario {
  /** What the kernel holds before the daemon starts, besides the underlay. */
  readonly found?: readonly Resource[];
  /**
   * What happens to a node that is in sync with peers 2 and 3. Without it, the start is the
   * scenario.
   */
  readonly act?: (scene: ReconcilerScene) => void;
  /** Entries of other programs that have to survive. */
  readonly foreign?: readonly Resource[];
}

const DEVICE = vxlanDevice("flannel.1") as Link;
const ETH0 = UNDERLAY[0] as Link;

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "start on a clean host": {},
  "start with everything in place": { found: [...NODE_ENTRIES, ...peerOf(2), ...peerOf(3)] },
  "start with stale entries": { found: [...NODE_ENTRIES, ...peerOf(3), ...peerOf(4)] },
  "start with a device of another VNI": {
    found: [vxlanDevice("flannel.1", { vni: 2 }), neighbour(2, 2), fdb(2, 2)],
  },
  "start next to routes of other programs": {
    found: [foreignRoute(9)],
    foreign: [foreignRoute(9)],
  },
  "a peer joins": { act: (scene) => scene.desire("peer 4", peerOf(4)) },
  "fifty peers join": {
    act: (scene) => {
      for (let n = 10; n < 60; n++) scene.desire(`peer ${n}`, peerOf(n));
    },
  },
  "a peer leaves": { act: (scene) => scene.desire("peer 2", []) },
  "a peer changes its MAC address": {
    act: (scene) => scene.desire("peer 2", peerOf(2, { macNumber: 22 })),
  },
  "a peer changes its public address": {
    act: (scene) => scene.desire("peer 2", peerOf(2, { at: 22 })),
  },
  "two peers exchange their MAC addresses": {
    act: (scene) => {
      scene.desire("peer 2", peerOf(2, { macNumber: 3 }));
      scene.desire("peer 3", peerOf(3, { macNumber: 2 }));
    },
  },
  "another program deletes a route": {
    act: ({ kernel }) => kernel.outside({ op: "delete", resource: tunnelRoute(2) }),
  },
  "another program changes a neighbour entry": {
    act: ({ kernel }) => kernel.outside({ op: "set", resource: neighbour(2, 9) }),
  },
  "another program deletes a forwarding entry": {
    act: ({ kernel }) => kernel.outside({ op: "delete", resource: fdb(2, 2) }),
  },
  "another program deletes the device": {
    act: ({ kernel }) => kernel.outside({ op: "delete", resource: DEVICE }),
  },
  "another program sets the device down": {
    act: ({ kernel }) => kernel.setLinkState("flannel.1", "down"),
  },
  "another program deletes the address": {
    act: ({ kernel }) => kernel.outside({ op: "delete", resource: address(1) }),
  },
  "another program adds a peer's entries": {
    act: ({ kernel }) =>
      kernel.outside(
        { op: "set", resource: neighbour(7, 7) },
        { op: "set", resource: fdb(7, 7) },
        { op: "set", resource: tunnelRoute(7) },
      ),
  },
  "the MTU changes": {
    act: (scene) =>
      scene.desire("node", [
        vxlanDevice("flannel.1", { mtu: 1400 }),
        vxlanDevice("flannel-v6.1", { mtu: 1400 }),
        address(1),
      ]),
  },
  "the VNI changes": {
    act: (scene) =>
      scene.desire("node", [
        vxlanDevice("flannel.1", { vni: 7 }),
        vxlanDevice("flannel-v6.1", { vni: 7 }),
        address(1),
      ]),
  },
  "the node's address changes": {
    act: (scene) => scene.desire("node", [...NODE_ENTRIES.slice(0, 2), address(8)]),
  },
  "the external interface goes down and up": {
    act: ({ kernel }) => {
      kernel.setLinkState("eth0", "down");
      kernel.setLinkState("eth0", "up");
    },
  },
  "the external interface is deleted and comes back": {
    act: ({ kernel }) => {
      kernel.outside({ op: "delete", resource: ETH0 });
      kernel.outside({ op: "set", resource: ETH0 }, {
        op: "set",
        resource: UNDERLAY[2] as Resource,
      });
    },
  },
};

/** Begins when the scenario does; `end` ends what does not end by itself. */
interface Failure {
  begin(scene: ReconcilerScene): void;
  end?(scene: ReconcilerScene): void;
}

/** Refuses the first `count` steps with this errno, as the kernel does in passing. */
function refusing(errno: string, count: number): Failure {
  return {
    begin: ({ kernel }) => {
      let left = count;
      kernel.refuse = () => left-- > 0 ? errno : undefined;
    },
    end: ({ kernel }) => kernel.refuse = () => undefined,
  };
}

/** Something happens between two steps of the next batch that is long enough, once. */
function betweenSteps(position: number, act: (scene: ReconcilerScene) => void): Failure {
  return {
    begin: (scene) => {
      scene.kernel.betweenSteps = (done) => {
        if (done !== position) return;
        scene.kernel.betweenSteps = () => {};
        act(scene);
      };
    },
    end: ({ kernel }) => kernel.betweenSteps = () => {},
  };
}

function deleteLink({ kernel }: ReconcilerScene, name: string): void {
  const link = [...kernel.table.values()].find((one) => one.kind === "link" && one.name === name);
  if (link !== undefined) kernel.outside({ op: "delete", resource: link });
}

const FAILURES: Readonly<Record<string, Failure>> = {
  "no failure": { begin: () => {} },
  "EEXIST once": refusing("EEXIST", 1),
  "EEXIST for every step": refusing("EEXIST", Infinity),
  "ENOENT once": refusing("ENOENT", 1),
  "ESRCH for five steps": refusing("ESRCH", 5),
  "ENODEV once": refusing("ENODEV", 1),
  "ENETDOWN for five steps": refusing("ENETDOWN", 5),
  "ENETUNREACH for five steps": refusing("ENETUNREACH", 5),
  "EINTR once": refusing("EINTR", 1),
  "EBUSY for every step": refusing("EBUSY", Infinity),
  "ENOBUFS for every step": refusing("ENOBUFS", Infinity),
  "ENOMEM for twenty steps": refusing("ENOMEM", 20),
  "EPERM for every step": refusing("EPERM", Infinity),
  "half a batch: every second step is refused": {
    begin: ({ kernel }) => {
      let count = 0;
      kernel.refuse = () => count++ % 2 === 1 ? "ENOBUFS" : undefined;
    },
    end: ({ kernel }) => kernel.refuse = () => undefined,
  },
  "the batch breaks off: no acknowledgement arrives": betweenSteps(1, () => {
    throw new KernelError({ operation: "receive over netlink", errno: "ENOBUFS" });
  }),
  "an interrupted dump": { begin: ({ kernel }) => kernel.interruptedDumps = 1 },
  "six interrupted dumps": { begin: ({ kernel }) => kernel.interruptedDumps = 6 },
  "lost notifications": {
    begin: ({ kernel }) => kernel.delivery = "held",
    end: ({ kernel }) => {
      kernel.overrun();
      kernel.delivery = "soon";
    },
  },
  "lost notifications and an interrupted dump": {
    begin: ({ kernel }) => kernel.delivery = "held",
    end: ({ kernel }) => {
      kernel.interruptedDumps = 2;
      kernel.overrun();
      kernel.delivery = "soon";
    },
  },
  "late notifications": {
    begin: ({ kernel }) => kernel.delivery = "held",
    end: ({ kernel }) => {
      kernel.deliver();
      kernel.delivery = "soon";
    },
  },
  "slow acknowledgements": {
    begin: ({ kernel, clock }) =>
      kernel.acknowledge = () => new Promise((resolve) => void clock.setTimer(30, () => resolve())),
    end: ({ kernel }) => kernel.acknowledge = () => Promise.resolve(),
  },
  "the device vanishes within a batch": betweenSteps(1, (scene) => deleteLink(scene, "flannel.1")),
  "the device goes down within a batch": betweenSteps(1, ({ kernel }) => {
    if (kernel.table.has("link flannel.1" as never)) kernel.setLinkState("flannel.1", "down");
  }),
  "the external interface vanishes within a batch": {
    begin: betweenSteps(1, (scene) => deleteLink(scene, "eth0")).begin,
    end: ({ kernel }) => {
      kernel.betweenSteps = () => {};
      const isThere = [...kernel.table.values()].some((one) =>
        one.kind === "link" && one.name === "eth0"
      );
      if (isThere) return;
      kernel.outside({ op: "set", resource: ETH0 }, {
        op: "set",
        resource: UNDERLAY[2] as Resource,
      });
    },
  },
  "another program changes an entry while a dump is read": {
    begin: (scene) => {
      scene.kernel.afterDump = () => {
        scene.kernel.afterDump = () => {};
        const entry = scene.desired.find((one) => one.kind === "neighbour");
        const isThere = entry !== undefined &&
          [...scene.kernel.table.values()].some((one) => resourceText(one) === resourceText(entry));
        if (isThere) scene.kernel.outside({ op: "delete", resource: entry });
      };
      scene.kernel.overrun(); // Causes a dump.
    },
    end: ({ kernel }) => kernel.afterDump = () => {},
  },
};

/** While a failure lasts: long enough for every kind of retry to be tried. */
const FAILING_MS = 40_000;
const RECOVERY_MS = 120_000;
/** Lines at warn and above in those 160 s. */
const MAX_WARNINGS = 60;
/**
 * Far more than back-off and repair limiter allow, far less than a loop without a pause would do.
 */
const MAX_BATCHES = 120;

const SEVERE: ReadonlySet<string> = new Set(["warn", "error", "fatal"]);

describe.each(Object.entries(SCENARIOS))("%s", (_, scenario) => {
  test.each(Object.entries(FAILURES))("with %s", async (_, failure) => {
    await using scene = new ReconcilerScene();
    const { kernel, clock } = scene;
    kernel.seed(...scenario.found ?? []);
    scene.desire("node", NODE_ENTRIES);
    scene.desire("peer 2", peerOf(2));
    scene.desire("peer 3", peerOf(3));
    if (scenario.act === undefined) failure.begin(scene);
    scene.start();
    scene.reconciler.allowSweep();
    if (scenario.act !== undefined) {
      await clock.advance(1000);
      expect(scene.differences(scenario.foreign)).toEqual([]);
      kernel.takeAsked();
      failure.begin(scene);
      scenario.act(scene);
    }
    await clock.advance(FAILING_MS);
    failure.end?.(scene);
    await clock.advance(RECOVERY_MS);

    expect(scene.differences(scenario.foreign)).toEqual([]);
    expect(await scene.isSettled()).toBe(true);
    expect(scene.reconciler.status()).toMatchObject({ failing: [], conflicts: [] });
    expect(kernel.batches).toBeLessThan(MAX_BATCHES);
    const warnings = scene.logged.records.filter(({ level }) => SEVERE.has(level));
    expect(warnings.length).toBeLessThan(MAX_WARNINGS);
    kernel.takeAsked();
    scene.reconciler.setScope({ ownership: OWNERSHIP, external: "eth0" });
    await clock.advance(1000);
    expect(kernel.takeAsked()).toEqual([]);
  });
});
