/** The log's fields lead from the event of a lease to the kernel's acknowledgement. */

import { expect, test } from "bun:test";
import type { MacAddress } from "../../../src/addr/mac.ts";
import vxlan from "../../../src/backend/vxlan/vxlan.ts";
import type { StepResult } from "../../../src/kernel/kernel.ts";
import { createLogger } from "../../../src/log/logger.ts";
import { traceLeaseEvent } from "../../../src/overlay/lease_event_trace.ts";
import { OverlayController } from "../../../src/overlay/overlay_controller.ts";
import { ReachabilitySource } from "../../../src/overlay/peer_reachability.ts";
import { leaseFields, logRepair } from "../../../src/reconcile/change_trace.ts";
import { TrackedEntry } from "../../../src/reconcile/entry_table.ts";
import { Reconciler } from "../../../src/reconcile/reconciler.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Neighbour } from "../../../src/state/resource.ts";
import type { Step } from "../../../src/state/step.ts";
import type { Lease } from "../../../src/subnet/lease.ts";
import {
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  UNDERLAY,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { ReconcilerScene } from "../../support/reconciler_scene.ts";
import { backendHost, config, external, HOST, lease } from "../../support/sample_network.ts";

const ROUTE = "route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 70 onlink";

test("The fields lead from the event of a lease to the kernel's acknowledgement", async () => {
  const kernel = new FakeKernel();
  kernel.seed(...HOST);
  const clock = new FakeClock(() => 0.5);
  const { log, records } = collectingLog();
  const ext = external([4]);
  const backend = await vxlan.prepare(backendHost(kernel, config("vxlan", [4], {})));
  await using reconciler = new Reconciler({ kernel, log, clock });
  using reachability = new ReachabilitySource({
    kernel,
    ownership: () => backend.ownership(ext),
    external: () => ext,
    onChanged: () => {},
  });
  await using controller = new OverlayController(
    { backend, entryStore: reconciler, reachability, log, clock },
    ext,
  );
  reconciler.start({ ownership: backend.ownership(ext), external: "eth0" });
  controller.ownChanged(lease(1, "vxlan", [4]));
  const receive = (peer: Lease) => {
    traceLeaseEvent(log, { kind: "put", lease: peer });
    controller.applyChanges([{ kind: "put", lease: peer }]);
  };
  receive(lease(2, "vxlan", [4]));
  await clock.advance(1000);
  records.length = 0;

  receive(lease(3, "vxlan", [4]));
  await clock.advance(1000);
  const [event, converted, changed, sent, ...results] = records.map((record) =>
    withoutOthers(record)
  );
  expect([event, converted, changed].map((line) => line?.["lease"])).toEqual(
    Array(3).fill("node-3"),
  );
  expect(event).toMatchObject({ event: "put", revision: 3 });
  expect([converted, changed]).toContainEqual({
    msg: "desired entries changed",
    lease: "node-3",
    revision: 3,
    entries: 3,
  });
  expect(sent).toEqual({ msg: "batch sent", batch: expect.any(Number), steps: 3 });
  const acknowledged = {
    msg: "entry acknowledged",
    batch: sent?.["batch"],
    op: "set",
    lease: "node-3",
    device: "flannel.1",
  };
  expect(results).toEqual([
    { ...acknowledged, entry: expect.stringContaining("neigh 10.5.3.0") },
    { ...acknowledged, entry: expect.stringContaining("fdb ") },
    { ...acknowledged, entry: ROUTE },
  ]);
});

test("A batch has a number, a refused entry its errno, a deleted one its owner", async () => {
  await using scene = new ReconcilerScene();
  const { reconciler, clock, kernel } = scene;
  scene.start();
  reconciler.setDesired("node", [vxlanDevice("flannel.1")]);
  reconciler.setDesired("node-3", [tunnelRoute(3)], 7n);
  await clock.advance(1000);
  kernel.refuse = ({ op }) => op === "delete" ? "EPERM" : undefined;
  const { records } = scene.logged;
  const batches = records.filter(({ msg }) => msg === "batch sent").map(({ batch }) => batch);
  expect(batches).toEqual(Array.from(batches, (_, i) => i + 1));
  records.length = 0;
  reconciler.removeOwner("node-3");
  reconciler.allowSweep();
  await clock.advance(50);
  kernel.refuse = () => undefined;
  await clock.advance(1000);
  const common = { op: "delete", lease: "node-3", device: "flannel.1", entry: ROUTE };
  const batch = batches.length + 1;
  expect(records.filter(({ level }) => level !== "info").map((record) => withoutOthers(record)))
    .toEqual([
      { msg: "desired entries changed", lease: "node-3", entries: 0 },
      { msg: "batch sent", batch, steps: 1 },
      { msg: "entry refused", batch, ...common, errno: "EPERM" },
      {
        msg: `cannot delete ${ROUTE}: EPERM`,
        lease: "node-3",
        device: "flannel.1",
        errno: "EPERM",
      },
      { msg: "batch sent", batch: batch + 1, steps: 1 },
      { msg: "entry acknowledged", batch: batch + 1, ...common },
    ]);
});

test("A repair has the lease and the device of the entry", async () => {
  await using scene = new ReconcilerScene();
  const { reconciler, clock, kernel } = scene;
  scene.start();
  reconciler.setDesired("node", [vxlanDevice("flannel.1")]);
  reconciler.setDesired("node-3", [tunnelRoute(3)], 7n);
  await clock.advance(1000);
  kernel.outside({ op: "delete", resource: tunnelRoute(3) });
  await clock.advance(1000);
  const repairs = scene.logged.records.filter(({ level }) => level === "debug");
  expect(repairs.map((record) => withoutOthers(record))).toEqual([
    { msg: `repaired: ${ROUTE}`, lease: "node-3", device: "flannel.1" },
  ]);
});

test.each([
  ["computes no text of an entry while its level is off", 0, 0],
  ["computes it at verbosity 4", 4, 1],
])("The trace %s", async (_name, verbosity, failedPasses) => {
  class AcceptingKernel extends FakeKernel {
    override apply(steps: readonly Step[]): Promise<StepResult[]> {
      return Promise.resolve(steps.map(() => undefined));
    }
  }
  const kernel = new AcceptingKernel();
  kernel.seed(...UNDERLAY, vxlanDevice("flannel.1"));
  const clock = new FakeClock(() => 0.5);
  const lines: string[] = [];
  const log = createLogger({ format: "json", verbosity, write: (line) => void lines.push(line) });
  await using reconciler = new Reconciler({ kernel, log, clock });
  const mac = {
    toString() {
      throw new Error("text was computed");
    },
  } as unknown as MacAddress;
  const unprintable: Neighbour = { ...neighbour(3, 3), mac };
  reconciler.start({ ownership: OWNERSHIP, external: "eth0" });
  reconciler.setDesired("node", [vxlanDevice("flannel.1")]);
  reconciler.setDesired("node-3", [unprintable], 7n);
  await clock.advance(50);
  const failures = lines.filter((line) => line.includes("text was computed"));
  expect(failures.length).toBe(failedPasses);
});

test("Of a repair, no text is computed while its level is off", () => {
  const { log, records } = collectingLog("info");
  const unprintable = new Proxy(tunnelRoute(3), { get: () => expect.unreachable() });
  logRepair(log, new TrackedEntry(resourceKey(tunnelRoute(3))), {
    op: "set",
    resource: unprintable,
  });
  expect(records).toEqual([]);
});

test("A line has no empty fields for an entry that was never desired", () => {
  const entry = new TrackedEntry(resourceKey(tunnelRoute(3)));
  expect(Object.entries(leaseFields(entry, undefined))).toEqual([]);
  expect(Object.entries(leaseFields(entry, tunnelRoute(3)))).toEqual([["device", "flannel.1"]]);
});

/** The record without its level, time and process. */
function withoutOthers(record: Record<string, unknown>): Record<string, unknown> {
  const { level: _, time: __, pid: ___, hostname: ____, ...rest } = record;
  return rest;
}
