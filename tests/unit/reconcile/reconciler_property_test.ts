import { expect, test } from "bun:test";
import fc from "fast-check";
import { Reconciler, type ReconcilerScope } from "../../../src/reconcile/reconciler.ts";
import { isOurs } from "../../../src/state/ownership.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import { resourceText } from "../../../src/state/resource_text.ts";
import type { Link, Resource } from "../../../src/state/resource.ts";
import { sameResource } from "../../../src/state/same_resource.ts";
import type { Step } from "../../../src/state/step.ts";
import {
  address,
  desiredDevices,
  foreignEntries,
  foundDevice,
  OWNERSHIP,
  peerEntries,
  UNDERLAY,
} from "../../support/arbitrary_state.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { warningsLog } from "../../support/sample_network.ts";

/** An event while the reconciler runs. */
type Event =
  | { readonly kind: "desire"; readonly owner: string; readonly resources: readonly Resource[] }
  | { readonly kind: "set"; readonly resource: Resource }
  | { readonly kind: "remove"; readonly nth: number }
  | { readonly kind: "down" | "up"; readonly link: string }
  | { readonly kind: "refuse"; readonly nth: number }
  | { readonly kind: "in mid-batch"; readonly link: string }
  | { readonly kind: "hold" | "deliver" | "at once" | "slow" | "fast" }
  | { readonly kind: "interrupted dumps" | "overrun" | "resync" | "sweep" };

const links = fc.constantFrom("flannel.1", "flannel-v6.1", "eth0");

const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("desire" as const),
      owner: fc.constantFrom("a", "b", "c", "d"),
      resources: fc.array(peerEntries, { maxLength: 4 }),
    }),
  },
  fc.record({ kind: fc.constant("set" as const), resource: peerEntries }),
  fc.record({ kind: fc.constant("set" as const), resource: foundDevice }),
  fc.record({ kind: fc.constant("remove" as const), nth: fc.nat(40) }),
  fc.record({ kind: fc.constantFrom("down" as const, "up" as const), link: links }),
  fc.record({ kind: fc.constant("refuse" as const), nth: fc.nat(5) }),
  fc.record({ kind: fc.constant("in mid-batch" as const), link: links }),
  fc.record({
    kind: fc.constantFrom(
      ...[
        "interrupted dumps",
        "overrun",
        "resync",
        "sweep",
        "hold",
        "deliver",
        "at once",
        "slow",
        "fast",
      ] as const,
    ),
  }),
);

/** Events, each after some milliseconds. */
const story = fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 7, 60, 400), event), {
  maxLength: 25,
});

const SCOPE: ReconcilerScope = { ownership: OWNERSHIP, external: "eth0" };

class Scene {
  readonly kernel = new FakeKernel();
  readonly clock = new FakeClock(() => 0.5);
  readonly desired = new Map<string, readonly Resource[]>();
  readonly reconciler = new Reconciler({
    kernel: this.kernel,
    log: warningsLog(),
    clock: this.clock,
  });
  maySweep = false;
  #precedence = 0n;

  desire(owner: string, resources: readonly Resource[]): void {
    this.desired.set(owner, resources);
    this.reconciler.setDesired(owner, resources, ++this.#precedence);
  }

  happen(event: Event): void {
    const { kernel } = this;
    switch (event.kind) {
      case "desire":
        this.desire(event.owner, event.resources);
        break;
      case "set":
        this.outside({ op: "set", resource: event.resource });
        break;
      case "remove": {
        const victims = [...kernel.table.values()].filter((r) => isOurs(r, OWNERSHIP));
        const victim = victims[event.nth % Math.max(victims.length, 1)];
        if (victim !== undefined) this.outside({ op: "delete", resource: victim });
        break;
      }
      case "down":
      case "up":
        if (kernel.table.has(resourceKey({ kind: "link", name: event.link } as Link))) {
          kernel.setLinkState(event.link, event.kind);
        }
        break;
      case "refuse": {
        let left = event.nth;
        kernel.refuse = () => {
          if (left-- > 0) return undefined;
          kernel.refuse = () => undefined;
          return "ENOBUFS";
        };
        break;
      }
      case "in mid-batch":
        kernel.betweenSteps = (done) => {
          if (done !== 1) return;
          kernel.betweenSteps = () => {};
          this.happen({ kind: "down", link: event.link });
        };
        break;
      case "interrupted dumps":
        kernel.interruptedDumps = 2;
        break;
      case "overrun":
        kernel.overrun();
        break;
      case "resync":
        this.reconciler.setScope(SCOPE);
        break;
      case "hold":
        kernel.delivery = "held";
        break;
      case "at once":
        kernel.deliver();
        kernel.delivery = "now";
        break;
      case "slow":
        kernel.acknowledge = () =>
          new Promise((resolve) => void this.clock.setTimer(30, () => resolve()));
        break;
      case "fast":
        kernel.acknowledge = () => Promise.resolve();
        break;
      case "deliver":
        kernel.delivery = "soon";
        kernel.deliver();
        break;
      case "sweep":
        this.maySweep = true;
        this.reconciler.allowSweep();
    }
  }

  /**
   * Another program's change, which replaces only entries that are ours or part of the underlay.
   */
  outside(step: Step): void {
    const found = this.kernel.table.get(resourceKey(step.resource));
    if (found !== undefined && !isOurs(found, OWNERSHIP) && !isFixed(found)) return;
    try {
      this.kernel.outside(step);
    } catch {
      // The kernel refused it.
    }
  }

  /**
   * The faults end, the underlay is up, everything may be swept: now everything must be restored.
   */
  async calmDown(): Promise<void> {
    this.kernel.refuse = () => undefined;
    this.kernel.betweenSteps = () => {};
    this.kernel.interruptedDumps = 0;
    this.happen({ kind: "up", link: "eth0" });
    this.outside({ op: "set", resource: UNDERLAY[2] as Resource });
    this.happen({ kind: "sweep" });
    this.happen({ kind: "fast" });
    this.happen({ kind: "deliver" });
    await this.clock.advance(200_000);
  }
}

function isFixed(resource: Resource): boolean {
  return UNDERLAY.some((other) => resourceKey(other) === resourceKey(resource));
}

test(
  "the reconciler reaches the desired state after any sequence of changes and faults",
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(peerEntries, { maxLength: 6 }),
        fc.array(foreignEntries, { maxLength: 3 }),
        story,
        async (found, foreign, events) => {
          const scene = new Scene();
          const { kernel, reconciler } = scene;
          kernel.seed(...UNDERLAY, ...desiredDevices);
          kernel.delivery = "now";
          for (const resource of [...foreign, ...found]) scene.outside({ op: "set", resource });
          kernel.delivery = "soon";
          const others = [...kernel.table.values()].filter((r) =>
            !isOurs(r, OWNERSHIP) && !isFixed(r)
          );
          reconciler.start(SCOPE);
          scene.desire("node", [...desiredDevices, address(9)]);
          for (const [delayMs, event] of events) {
            await scene.clock.advance(delayMs);
            scene.happen(event);
          }
          await scene.clock.advance(10);
          if (!scene.maySweep) {
            const deletes = kernel.takeAsked().filter((step) =>
              step.startsWith("delete") && !step.startsWith("delete link")
            );
            expect(deletes).toEqual([]);
          }
          await scene.calmDown();

          for (const other of others) expect(kernel.table.get(resourceKey(other))).toBe(other);
          let isSettled = false;
          void reconciler.whenSettled().then(() => isSettled = true);
          await Promise.resolve();
          const { failing, conflicts } = reconciler.status();
          expect({ isSettled, failing }).toEqual({ isSettled: true, failing: [] });
          const held = new Set(conflicts.map(({ text }) => text));
          const wanted = new Map<string, Resource>();
          for (const resources of scene.desired.values()) {
            for (const resource of resources) wanted.set(resourceKey(resource), resource);
          }
          const present = [...kernel.table].filter(([, r]) => isOurs(r, OWNERSHIP) && !isFixed(r));
          for (const [key, resource] of present) {
            expect([resourceText(resource), wanted.has(key)]).toEqual([
              resourceText(resource),
              true,
            ]);
          }
          for (const [key, resource] of wanted) {
            const actual = kernel.table.get(key as never);
            if (held.has(resourceText(resource))) continue;
            const candidates = [...scene.desired.values()].flat()
              .filter((candidate) => resourceKey(candidate) === key);
            const isRight = actual !== undefined &&
              candidates.some((candidate) =>
                sameResource(candidate, actual) || held.has(resourceText(candidate))
              );
            expect([resourceText(resource), isRight]).toEqual([resourceText(resource), true]);
          }
          kernel.takeAsked();
          reconciler.setScope(SCOPE);
          await scene.clock.advance(1000);
          expect(kernel.takeAsked()).toEqual([]);
          await reconciler[Symbol.asyncDispose]();
        },
      ),
      { numRuns: 300 },
    );
  },
  60_000,
);
