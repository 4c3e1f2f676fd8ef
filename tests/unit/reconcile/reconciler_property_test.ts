import { expect, test } from "bun:test";
import fc from "fast-check";
import { isOurs } from "../../../src/state/ownership.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import { resourceText } from "../../../src/state/resource_text.ts";
import type { Resource } from "../../../src/state/resource.ts";
import { sameResource } from "../../../src/state/same_resource.ts";
import {
  address,
  desiredDevices,
  foreignEntries,
  OWNERSHIP,
  peerEntries,
  UNDERLAY,
} from "../../support/arbitrary_state.ts";
import {
  isFixed,
  SCOPE,
  story,
  type StoryEvent,
  StoryScene,
} from "../../support/reconciler_story.ts";

test(
  "the reconciler reaches the desired state after any sequence of changes and faults",
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(peerEntries, { maxLength: 6 }),
        fc.array(foreignEntries, { maxLength: 3 }),
        story,
        async (found, foreign, events) => {
          const scene = new StoryScene({ computesAgain: true });
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

test("the steps are the same whether or not settled entries have records", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(peerEntries, { maxLength: 6 }),
      fc.array(foreignEntries, { maxLength: 3 }),
      // The order of the steps of one batch may differ, so no fault may depend on it.
      story.map((events) =>
        events.filter(([, { kind }]) => kind !== "refuse" && kind !== "in mid-batch")
      ),
      async (found, foreign, events) => {
        const [computed, stored] = await Promise.all(
          [true, false].map((computesAgain) =>
            steps(new StoryScene({ computesAgain }), { found: [...foreign, ...found], events })
          ),
        );
        expect(computed).toEqual(stored as string[][]);
      },
    ),
    { numRuns: 300 },
  );
}, 60_000);

/** What the kernel is asked for after each event, as sorted text, and how it ends. */
async function steps(
  scene: StoryScene,
  { found, events }: {
    readonly found: readonly Resource[];
    readonly events: readonly (readonly [number, StoryEvent])[];
  },
): Promise<string[][]> {
  const { kernel, clock, reconciler } = scene;
  kernel.seed(...UNDERLAY, ...desiredDevices);
  kernel.delivery = "now";
  for (const resource of found) scene.outside({ op: "set", resource });
  kernel.delivery = "soon";
  reconciler.start(SCOPE);
  scene.desire("node", [...desiredDevices, address(9)]);
  const asked: string[][] = [];
  for (const [delayMs, event] of events) {
    await clock.advance(delayMs);
    asked.push(kernel.takeAsked().sort());
    scene.happen(event);
  }
  await clock.advance(10);
  asked.push(kernel.takeAsked().sort());
  await scene.calmDown();
  asked.push(kernel.takeAsked().sort(), [...kernel.table.values()].map(resourceText).sort());
  asked.push([JSON.stringify(reconciler.status())]);
  await reconciler[Symbol.asyncDispose]();
  return asked;
}
