/** Notifications of this program's own changes that arrive late, as on a busy machine. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { NODE_ENTRIES, peerOf, ReconcilerScene } from "../../support/reconciler_scene.ts";

async function startedScene(): Promise<ReconcilerScene> {
  const scene = new ReconcilerScene();
  scene.start();
  scene.desire("node", NODE_ENTRIES);
  scene.desire("peer 2", peerOf(2));
  await scene.clock.advance(1000);
  scene.reconciler.allowSweep();
  scene.kernel.delivery = "held";
  return scene;
}

test("an older change that is reported late does not hide the last one", async () => {
  await using scene = await startedScene();
  const { kernel, clock } = scene;
  const changeMac = (macNumber: number) => scene.desire("peer 2", peerOf(2, { macNumber }));
  changeMac(9);
  await clock.advance(100);
  kernel.deliver();
  changeMac(2);
  await clock.advance(700);
  changeMac(9);
  await clock.advance(20);
  changeMac(2);
  // The neighbour and both forwarding entries as they were before the third change.
  kernel.deliver(3);
  await clock.advance(20);
  kernel.deliver();
  kernel.delivery = "soon";
  await clock.advance(1000);
  expect(scene.differences()).toEqual([]);
});

test("a peer may change to and fro, however late it is reported", async () => {
  const delay = fc.constantFrom(0, 1, 6, 20, 100, 260, 520, 700);
  const event = fc.oneof(
    fc.record({ mac: fc.constantFrom(2, 9), delayMs: delay }),
    fc.record({ deliver: fc.integer({ min: 1, max: 6 }), delayMs: delay }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 4, maxLength: 20 }), async (events) => {
      await using scene = await startedScene();
      for (const { delayMs, ...one } of events) {
        if ("mac" in one) scene.desire("peer 2", peerOf(2, { macNumber: one.mac }));
        else scene.kernel.deliver(one.deliver);
        await scene.clock.advance(delayMs);
      }
      scene.kernel.deliver();
      scene.kernel.delivery = "soon";
      await scene.clock.advance(20_000);
      expect(scene.differences()).toEqual([]);
    }),
    { numRuns: 500 },
  );
}, 60_000);
