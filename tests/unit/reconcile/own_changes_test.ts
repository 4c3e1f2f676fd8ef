import { beforeEach, describe, expect, test } from "bun:test";
import { OwnChanges } from "../../../src/reconcile/own_changes.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Step } from "../../../src/state/step.ts";
import { neighbour, tunnelRoute } from "../../support/arbitrary_state.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const FIRST: Step = { op: "set", resource: neighbour(2, 2) };
const SECOND: Step = { op: "set", resource: neighbour(2, 3) };
const THIRD: Step = { op: "set", resource: neighbour(2, 4) };
const REMOVAL: Step = { op: "delete", resource: neighbour(2, 4) };
const KEY = resourceKey(FIRST.resource);

let clock: FakeClock;
let ownChanges: OwnChanges;

beforeEach(() => {
  clock = new FakeClock();
  ownChanges = new OwnChanges(clock);
});

function send(...steps: Step[]): void {
  for (const step of steps) ownChanges.expect(new Map([[step, resourceKey(step.resource)]]));
}

/** The classification of the notification of this step. */
function classified({ op, resource }: Step): string {
  return ownChanges.classify(resourceKey(resource), { resource, deleted: op === "delete" });
}

describe("OwnChanges", () => {
  test("recognizes a change by its key and value, once", () => {
    expect(classified(FIRST)).toBe("foreign");
    send(FIRST);
    expect(classified({ op: "set", resource: tunnelRoute(2) })).toBe("foreign");
    expect(classified(SECOND)).toBe("foreign");
    expect(ownChanges.isExpected(KEY)).toBe(true);
    expect(classified(FIRST)).toBe("contested");
    expect(ownChanges.isExpected(KEY)).toBe(false);
    expect(classified(FIRST)).toBe("foreign");
    send(FIRST);
    expect(classified(FIRST)).toBe("last");
  });

  test("distrusts its last change if a foreign one was reported since it was sent", async () => {
    send(FIRST, SECOND);
    expect(classified(THIRD)).toBe("foreign");
    expect([FIRST, SECOND].map(classified)).toEqual(["earlier", "contested"]);
    // Until it is forgotten.
    send(FIRST);
    expect(classified(THIRD)).toBe("foreign");
    await clock.advance(500);
    send(SECOND);
    expect(classified(SECOND)).toBe("last");
  });

  test("recognizes a deletion by its key alone, and does not mistake it for a change", () => {
    send(REMOVAL);
    expect(classified({ op: "set", resource: REMOVAL.resource })).toBe("foreign");
    expect(classified({ op: "delete", resource: neighbour(2, 9) })).toBe("contested");
    send(FIRST);
    expect(classified({ op: "delete", resource: FIRST.resource })).toBe("foreign");
  });

  test("distinguishes the last change to an entry from earlier ones", () => {
    send(FIRST, SECOND, REMOVAL);
    expect([FIRST, SECOND, REMOVAL].map(classified)).toEqual(["earlier", "earlier", "last"]);
  });

  test("stops expecting notifications from before one that arrived", () => {
    send(FIRST, SECOND, THIRD);
    expect(classified(SECOND)).toBe("earlier");
    expect(classified(FIRST)).toBe("foreign");
    expect(classified(THIRD)).toBe("contested");
  });

  test("stops expecting an old change when the notification of a later one arrives", async () => {
    send(FIRST);
    await clock.advance(250);
    send(SECOND);
    expect(classified(SECOND)).toBe("last");
    expect(ownChanges.isExpected(KEY)).toBe(false);
    expect(classified(FIRST)).toBe("foreign");
  });

  test("still expects the later change when the notification of an old one arrives", async () => {
    send(FIRST);
    await clock.advance(250);
    send(SECOND);
    expect(classified(FIRST)).toBe("earlier");
    expect(classified(SECOND)).toBe("last");
  });

  test("expects no notification of a refused change", () => {
    send(FIRST, REMOVAL);
    ownChanges.cancel(KEY, REMOVAL);
    expect(ownChanges.isExpected(KEY)).toBe(false);
    send(FIRST);
    ownChanges.cancel(KEY, FIRST);
    expect(classified(FIRST)).toBe("foreign");
  });

  test("expects a notification for at least 250 ms and less than 500 ms", async () => {
    send(FIRST);
    await clock.advance(249);
    expect(ownChanges.isExpected(KEY)).toBe(true);
    await clock.advance(1);
    expect(ownChanges.isExpected(KEY)).toBe(true);
    await clock.advance(249);
    expect(ownChanges.isExpected(KEY)).toBe(true);
    await clock.advance(1);
    expect(ownChanges.isExpected(KEY)).toBe(false);
    expect(classified(FIRST)).toBe("foreign");
  });

  test.each([[499, "last"], [500, "foreign"]])(
    "classifies a notification that arrives %d ms later as %s",
    async (ms, what) => {
      send(FIRST);
      await clock.advance(ms);
      expect(classified(FIRST)).toBe(what);
    },
  );
});
