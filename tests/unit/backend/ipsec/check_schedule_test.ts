import { expect, test } from "bun:test";
import { CheckSchedule } from "../../../../src/backend/ipsec/check_schedule.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

function due(checks: CheckSchedule): string {
  return [
    checks.areConnectionsDue ? "connections" : "",
    checks.areTunnelsDue ? "tunnels" : "",
    checks.areAllTunnelsDue ? "all" : "",
  ].filter(Boolean).join(" ");
}

test("everything is due for a new charon, then at intervals of its own", async () => {
  const clock = new FakeClock();
  const checks = new CheckSchedule(clock);
  expect(due(checks)).toBe("connections tunnels all");
  checks.connectionsChecked({ isLarge: true });
  checks.tunnelCheckStarted({ isFull: true });
  expect([due(checks), checks.delayMs]).toEqual(["", 5000]);
  await clock.advance(5000);
  expect(due(checks)).toBe("tunnels");
  checks.tunnelCheckStarted({ isFull: false });
  await clock.advance(55_000);
  expect(due(checks)).toBe("connections tunnels");
  checks.connectionsChecked({ isLarge: false });
  checks.tunnelCheckStarted({ isFull: false });
  await clock.advance(240_000);
  expect(due(checks)).toBe("connections tunnels all");
  checks.connectionsChecked({ isLarge: false });
  checks.tunnelCheckStarted({ isFull: true });
  checks.reset();
  expect(due(checks)).toBe("connections tunnels all");
});

test("a report of a change makes tunnels due soon, never later than before", async () => {
  const clock = new FakeClock();
  const checks = new CheckSchedule(clock);
  checks.connectionsChecked({ isLarge: true });
  checks.tunnelCheckStarted({ isFull: true });
  await clock.advance(4500);
  checks.tunnelsSoon();
  expect(checks.delayMs).toBe(500);
  checks.tunnelCheckStarted({ isFull: false });
  checks.allTunnelsSoon();
  expect([due(checks), checks.delayMs]).toEqual(["all", 1000]);
  checks.allTunnelsNow();
  expect(due(checks)).toBe("tunnels all");
});
