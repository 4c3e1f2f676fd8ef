/** Random stories of a reconciler: changes of what is desired, of the kernel, and faults. */

import fc from "fast-check";
import { Reconciler, type ReconcilerScope } from "../../src/reconcile/reconciler.ts";
import { isOurs } from "../../src/state/ownership.ts";
import { resourceKey } from "../../src/state/resource_key.ts";
import type { Link, Resource } from "../../src/state/resource.ts";
import type { Step } from "../../src/state/step.ts";
import { foundDevice, OWNERSHIP, peerEntries, UNDERLAY } from "./arbitrary_state.ts";
import { computedAgain } from "./computed_again.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeKernel } from "./fake_kernel.ts";
import { warningsLog } from "./sample_network.ts";

/** An event while the reconciler runs. */
export type StoryEvent =
  | { readonly kind: "desire"; readonly owner: string; readonly resources: readonly Resource[] }
  | { readonly kind: "set"; readonly resource: Resource }
  | { readonly kind: "remove"; readonly nth: number }
  | { readonly kind: "down" | "up"; readonly link: string }
  | { readonly kind: "refuse"; readonly nth: number }
  | { readonly kind: "in mid-batch"; readonly link: string }
  | { readonly kind: "hold" | "deliver" | "at once" | "slow" | "fast" }
  | { readonly kind: "interrupted dumps" | "overrun" | "resync" | "sweep" };

const links = fc.constantFrom("flannel.1", "flannel-v6.1", "eth0");

const event: fc.Arbitrary<StoryEvent> = fc.oneof(
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
export const story = fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 7, 60, 400), event), {
  maxLength: 25,
});

export const SCOPE: ReconcilerScope = { ownership: OWNERSHIP, external: "eth0" };

export class StoryScene {
  readonly kernel = new FakeKernel();
  readonly clock = new FakeClock(() => 0.5);
  readonly desired = new Map<string, readonly Resource[]>();
  readonly reconciler = new Reconciler({
    kernel: this.kernel,
    log: warningsLog(),
    clock: this.clock,
  });
  maySweep = false;
  readonly #computesAgain: boolean;
  #precedence = 0n;

  /** `computesAgain`: whether the owners, except the node, have a source of their entries. */
  constructor({ computesAgain }: { readonly computesAgain: boolean }) {
    this.#computesAgain = computesAgain;
  }

  desire(owner: string, resources: readonly Resource[]): void {
    this.desired.set(owner, resources);
    const precedence = ++this.#precedence;
    const source = this.#computesAgain && owner !== "node"
      ? computedAgain(owner, resources, precedence)
      : undefined;
    this.reconciler.setDesired(owner, resources, precedence, source);
  }

  happen(event: StoryEvent): void {
    const { kernel } = this;
    switch (event.kind) {
      case "desire":
        this.desire(event.owner, event.resources);
        break;
      case "set":
        this.outside({ op: "set", resource: event.resource });
        break;
      case "remove": {
        // In the order of their keys, so that it does not matter in which order they were set.
        const ours = [...kernel.table].filter(([, resource]) => isOurs(resource, OWNERSHIP))
          .sort(([a], [b]) => a < b ? -1 : 1);
        const victim = ours[event.nth % Math.max(ours.length, 1)]?.[1];
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

export function isFixed(resource: Resource): boolean {
  return UNDERLAY.some((other) => resourceKey(other) === resourceKey(resource));
}
