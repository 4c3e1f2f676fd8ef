/** How often WireGuard devices are polled. */

import { expect, test } from "bun:test";
import { pollDelayMs } from "../../../src/kernel/wireguard/wireguard_table.ts";

test("polls use at most half a percent of a CPU, and pause for a minute at most", () => {
  for (const costMs of [0, 0.1, 8]) expect(pollDelayMs(costMs)).toBe(2000);
  for (const costMs of [9, 50, 200]) {
    expect(costMs / pollDelayMs(costMs)).toBeLessThan(0.005);
    expect(pollDelayMs(costMs)).toBeGreaterThan(2000);
  }
  expect(pollDelayMs(1000)).toBe(60_000);
});
