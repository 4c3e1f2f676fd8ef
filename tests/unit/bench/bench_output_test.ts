/** What the bench writes: the plot, and the table of threads. */

import { expect, test } from "bun:test";
import { growthPlot } from "../../bench/growth_plot.ts";
import type { GrowthSeries, Row } from "../../bench/table.ts";
import { threadActivity, threadTable } from "../../bench/thread_activity.ts";

function point(
  series: GrowthSeries,
  leases: number,
  { ours, theirs }: { readonly ours: number; readonly theirs: number },
): Row {
  const what = `${series} with ${leases}`;
  return { what, unit: "MiB", ours, theirs, against: "Go flannel", point: { series, leases } };
}

/** The coordinates of a program's line in each panel. */
function lines(svg: string, program: "ours" | "theirs"): number[][][] {
  return [...svg.matchAll(new RegExp(`<polyline class="${program}" points="([^"]*)"`, "g"))].map((
    [, points = ""],
  ) => points === "" ? [] : points.split(" ").map((text) => text.split(",").map(Number)));
}

test("the plot has a line of each program in each panel, with more leases to the right", () => {
  const svg = growthPlot([
    point("resident", 10, { ours: 50, theirs: 100 }),
    point("resident", 0, { ours: 25, theirs: 100 }),
    point("anonymous", 0, { ours: 1, theirs: 0 }),
    point("cpu", 0, { ours: 0, theirs: 0 }),
    { what: "no point", unit: "s", ours: 900, theirs: 900, against: "Go flannel" },
  ]);
  const [resident = []] = lines(svg, "ours");
  const [[left, low] = [], [right, high] = []] = resident;
  expect(right).toBeGreaterThan(left as number);
  expect(high).toBeLessThan(low as number);
  // Twice the value is twice as high above the axis, and the axis ends above the largest value.
  const [theirs = []] = lines(svg, "theirs");
  const bottom = 2 * (high as number) - (theirs[1]?.[1] as number);
  expect((bottom - (high as number)) / (bottom - (low as number))).toBeCloseTo(2, 1);
  expect(lines(svg, "ours").map((points) => points.length)).toEqual([2, 1, 1]);
  expect(lines(svg, "theirs").map((points) => points.length)).toEqual([2, 1, 1]);
  expect(svg).not.toContain("NaN");
  expect(svg).toContain("prefers-color-scheme:dark");
});

test("threads with one name are one line, per minute, and those that sleep are left out", () => {
  const thread = { program: "ours", cpuMs: 1 };
  expect(
    threadTable([
      { ...thread, name: "b", wakeUps: 1 },
      { ...thread, name: "a", wakeUps: 2 },
      { ...thread, name: "a", wakeUps: 3 },
      { ...thread, name: "c", wakeUps: 0 },
    ], 30).split("\n").slice(4),
  ).toEqual(["| ours | a | 10 | 4.0 |", "| ours | b | 2 | 2.0 |"]);
});

test("a thread that sleeps twice has woken up twice", async () => {
  const child = Bun.spawn(["sh", "-c", "read line; sleep 0; read line; read line"], {
    stdin: "pipe",
  });
  await Bun.sleep(200);
  const activity = threadActivity(child.pid);
  expect(activity.since().map(({ wakeUps }) => wakeUps)).toEqual([0]);
  child.stdin.write("\n");
  child.stdin.flush();
  await Bun.sleep(300);
  const [shell] = activity.since();
  expect(shell?.name).toBe("sh");
  expect(shell?.wakeUps).toBeGreaterThanOrEqual(1);
  expect(shell?.wakeUps).toBeLessThan(20);
  child.kill("SIGKILL");
  await child.exited;
});
