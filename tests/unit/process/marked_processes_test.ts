import { expect, test } from "bun:test";
import { killOrphans } from "../../../src/process/marked_processes.ts";
import { run } from "../../../src/process/process.ts";
import { spawnDaemon } from "../../../src/process/spawn_daemon.ts";
import { eventually } from "../../support/wait.ts";

/** Runs a shell script that has the mark, as has whatever it starts. */
function start(mark: string, script: string): ReturnType<typeof spawnDaemon> {
  const env = { PATH: process.env["PATH"] ?? "", LEFT_BY: mark };
  return spawnDaemon("sh", ["-c", script], { logFile: "/dev/null", env });
}

/** A shell that starts a child in a session of its own. */
const pair = (nap: string) => `setsid sleep ${nap} & exec sleep ${nap}`;

/** A time to sleep that nobody else sleeps. */
const newNap = () => `60.${Math.floor(Math.random() * 1e9)}`;

/** How many processes sleep that long. */
async function sleeping(nap: string): Promise<number> {
  return Number((await run("pgrep", ["-f", "-c", `^sleep ${nap}$`])).stdout);
}

test("killOrphans() ends what has the mark, in every session, and nothing else", async () => {
  const [ours, mine] = [crypto.randomUUID(), crypto.randomUUID()];
  const nap = newNap();
  const [left, other] = [start(ours, pair(nap)), start(mine, pair(nap))];
  await eventually("all four sleep", 20_000, async () => await sleeping(nap) === 4);
  expect(killOrphans("LEFT_BY", new Set([ours]))).toBe(2);
  expect(await left.exited).toBe(137);
  expect(killOrphans("LEFT_BY", new Set([ours]))).toBe(0);
  expect(killOrphans("LEFT_BY", new Set([mine]))).toBe(2);
  expect(await other.exited).toBe(137);
});

test("killOrphans() ends what was started while it looked", async () => {
  for (let attempt = 0; attempt < 5; attempt++) {
    const mark = crypto.randomUUID();
    const nap = newNap();
    const left = start(mark, `while :; do sleep ${nap} & done`);
    await eventually("some sleep", 20_000, async () => await sleeping(nap) > 0);
    expect(killOrphans("LEFT_BY", new Set([mark]))).toBeGreaterThan(1);
    expect(await left.exited).toBe(137);
    // What is killed ends when it is scheduled next; what was forgotten sleeps for a minute.
    await eventually("none sleeps", 20_000, async () => await sleeping(nap) === 0);
  }
});
