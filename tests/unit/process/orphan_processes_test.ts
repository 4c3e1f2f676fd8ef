import { expect, test } from "bun:test";
import { killOrphans } from "../../../src/process/orphan_processes.ts";
import { runProgram } from "../../../src/process/run_program.ts";
import { startDetached } from "../../../src/process/detached_process.ts";
import { eventually } from "../../support/wait.ts";

/** Runs a shell script that has the mark, as have all its children. */
function start(mark: string, script: string): ReturnType<typeof startDetached> {
  const env = { PATH: process.env["PATH"] ?? "", LEFT_BY: mark };
  return startDetached("sh", ["-c", script], { logFile: "/dev/null", env });
}

/** A shell that starts a child in a session of its own. */
const pair = (nap: string) => `setsid sleep ${nap} & exec sleep ${nap}`;

/** A time to sleep that no other process sleeps. */
const newNap = () => `60.${Math.floor(Math.random() * 1e9)}`;

/** How many processes sleep that long. */
async function sleeping(nap: string): Promise<number> {
  return Number((await runProgram("pgrep", ["-f", "-c", `^sleep ${nap}$`])).stdout);
}

test("killOrphans() ends what has the mark, in every session, and no other process", async () => {
  const [ours, mine] = [crypto.randomUUID(), crypto.randomUUID()];
  const nap = newNap();
  const [left, other] = [start(ours, pair(nap)), start(mine, pair(nap))];
  await eventually("all four sleep", 20_000, async () => await sleeping(nap) === 4);
  expect(await killOrphans("LEFT_BY", new Set([ours]))).toBe(2);
  expect(await left.exited).toBe(137);
  expect(await killOrphans("LEFT_BY", new Set([ours]))).toBe(0);
  expect(await killOrphans("LEFT_BY", new Set([mine]))).toBe(2);
  expect(await other.exited).toBe(137);
});

test("killOrphans() ends what was started while it looked", async () => {
  for (let attempt = 0; attempt < 5; attempt++) {
    const mark = crypto.randomUUID();
    const nap = newNap();
    const left = start(mark, `while :; do sleep ${nap} & done`);
    await eventually("some sleep", 20_000, async () => await sleeping(nap) > 0);
    expect(await killOrphans("LEFT_BY", new Set([mark]))).toBeGreaterThan(1);
    expect(await left.exited).toBe(137);
    // A killed process ends when it is scheduled next; one that was missed sleeps for a minute.
    await eventually("none sleeps", 20_000, async () => await sleeping(nap) === 0);
  }
});
