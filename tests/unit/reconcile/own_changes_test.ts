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

/** What the notification of this step is taken for. */
function classified({ op, resource }: Step): string {
  return ownChanges.classify(resourceKey(resource), { resource, deleted: op === "delete" });
}

describe("Echoes", () => {
  test("knows a change by its key, its value, and once", () => {
    expect(classified(FIRST)).toBe("foreign");
    send(FIRST);
    expect(classified({ op: "set", resource: tunnelRoute(2) })).toBe("foreign");
    expect(classified(SECOND)).toBe("foreign");
    expect(ownChanges.isExpected(KEY)).toBe(true);
    expect(classified(FIRST)).toBe("last");
    expect(ownChanges.isExpected(KEY)).toBe(false);
    expect(classified(FIRST)).toBe("foreign");
  });

  test("knows a deletion by its key alone, and does not take it for a change", () => {
    send(REMOVAL);
    expect(classified({ op: "set", resource: REMOVAL.resource })).toBe("foreign");
    expect(classified({ op: "delete", resource: neighbour(2, 9) })).toBe("last");
    send(FIRST);
    expect(classified({ op: "delete", resource: FIRST.resource })).toBe("foreign");
  });

  test("tells the last change to an entry from those before it", () => {
    send(FIRST, SECOND, REMOVAL);
    expect([FIRST, SECOND, REMOVAL].map(classified)).toEqual(["earlier", "earlier", "last"]);
  });

  test("no longer expects what must have come before a notification that came", () => {
    send(FIRST, SECOND, THIRD);
    expect(classified(SECOND)).toBe("earlier");
    expect(classified(FIRST)).toBe("foreign");
    expect(classified(THIRD)).toBe("last");
  });

  test("no longer expects what was sent long before a notification that came", async () => {
    send(FIRST);
    await clock.advance(250);
    send(SECOND);
    expect(classified(SECOND)).toBe("last");
    expect(ownChanges.isExpected(KEY)).toBe(false);
    expect(classified(FIRST)).toBe("foreign");
  });

  test("expects the later change still when the one sent long before it is announced", async () => {
    send(FIRST);
    await clock.advance(250);
    send(SECOND);
    expect(classified(FIRST)).toBe("earlier");
    expect(classified(SECOND)).toBe("last");
  });

  test("expects nothing of a change that was refused", () => {
    send(FIRST, REMOVAL);
    ownChanges.cancel(KEY, REMOVAL);
    expect(ownChanges.isExpected(KEY)).toBe(false);
    send(FIRST);
    ownChanges.cancel(KEY, FIRST);
    expect(classified(FIRST)).toBe("foreign");
  });

  test("expects a change for a quarter of a second, and for less than half a second", async () => {
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
    "takes what comes after %d silent ms for %s",
    async (ms, what) => {
      send(FIRST);
      await clock.advance(ms);
      expect(classified(FIRST)).toBe(what);
    },
  );
});
