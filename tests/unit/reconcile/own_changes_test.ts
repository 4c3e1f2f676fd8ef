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
let echoes: OwnChanges;

beforeEach(() => {
  clock = new FakeClock();
  echoes = new OwnChanges(clock);
});

function send(...steps: Step[]): void {
  for (const step of steps) echoes.expect(new Map([[step, resourceKey(step.resource)]]));
}

/** What the notification of this step is taken for. */
function announce({ op, resource }: Step): string {
  return echoes.classify(resourceKey(resource), resource, op === "delete");
}

describe("Echoes", () => {
  test("knows a change by its key, its value, and once", () => {
    expect(announce(FIRST)).toBe("foreign");
    send(FIRST);
    expect(announce({ op: "set", resource: tunnelRoute(2) })).toBe("foreign");
    expect(announce(SECOND)).toBe("foreign");
    expect(echoes.isExpected(KEY)).toBe(true);
    expect(announce(FIRST)).toBe("last");
    expect(echoes.isExpected(KEY)).toBe(false);
    expect(announce(FIRST)).toBe("foreign");
  });

  test("knows a deletion by its key alone, and does not take it for a change", () => {
    send(REMOVAL);
    expect(announce({ op: "set", resource: REMOVAL.resource })).toBe("foreign");
    expect(announce({ op: "delete", resource: neighbour(2, 9) })).toBe("last");
    send(FIRST);
    expect(announce({ op: "delete", resource: FIRST.resource })).toBe("foreign");
  });

  test("tells the last change to an entry from those before it", () => {
    send(FIRST, SECOND, REMOVAL);
    expect([FIRST, SECOND, REMOVAL].map(announce)).toEqual(["earlier", "earlier", "last"]);
  });

  test("no longer expects what must have come before a notification that came", () => {
    send(FIRST, SECOND, THIRD);
    expect(announce(SECOND)).toBe("earlier");
    expect(announce(FIRST)).toBe("foreign");
    expect(announce(THIRD)).toBe("last");
  });

  test("no longer expects what was sent long before a notification that came", async () => {
    send(FIRST);
    await clock.advance(250);
    send(SECOND);
    expect(announce(SECOND)).toBe("last");
    expect(echoes.isExpected(KEY)).toBe(false);
    expect(announce(FIRST)).toBe("foreign");
  });

  test("expects the later change still when the one sent long before it is announced", async () => {
    send(FIRST);
    await clock.advance(250);
    send(SECOND);
    expect(announce(FIRST)).toBe("earlier");
    expect(announce(SECOND)).toBe("last");
  });

  test("expects nothing of a change that was refused", () => {
    send(FIRST, REMOVAL);
    echoes.cancel(KEY, REMOVAL);
    expect(echoes.isExpected(KEY)).toBe(false);
    send(FIRST);
    echoes.cancel(KEY, FIRST);
    expect(announce(FIRST)).toBe("foreign");
  });

  test("expects a change for a quarter of a second, and for less than half a second", async () => {
    send(FIRST);
    await clock.advance(249);
    expect(echoes.isExpected(KEY)).toBe(true);
    await clock.advance(1);
    expect(echoes.isExpected(KEY)).toBe(true);
    await clock.advance(249);
    expect(echoes.isExpected(KEY)).toBe(true);
    await clock.advance(1);
    expect(echoes.isExpected(KEY)).toBe(false);
    expect(announce(FIRST)).toBe("foreign");
  });

  test.each([[499, "last"], [500, "foreign"]])(
    "takes what comes after %d silent ms for %s",
    async (ms, what) => {
      send(FIRST);
      await clock.advance(ms);
      expect(announce(FIRST)).toBe(what);
    },
  );
});
