import { expect, test } from "bun:test";
import { killMarked } from "../../../src/process/leftovers.ts";
import { spawnDaemon } from "../../../src/process/spawn_daemon.ts";

/** A shell that starts a child in a session of its own; both have the mark. */
function start(mark: string): ReturnType<typeof spawnDaemon> {
  const env = { PATH: process.env["PATH"] ?? "", LEFT_BY: mark };
  return spawnDaemon("sh", ["-c", "setsid sleep 60 & exec sleep 60"], {
    logFile: "/dev/null",
    env,
  });
}

test("killMarked() ends what has the mark, in every session, and nothing else", async () => {
  const [ours, mine] = [crypto.randomUUID(), crypto.randomUUID()];
  const [left, other] = [start(ours), start(mine)];
  await Bun.sleep(200);
  expect(killMarked("LEFT_BY", new Set([ours]))).toBe(2);
  expect(await left.exited).toBe(137);
  expect(killMarked("LEFT_BY", new Set([ours]))).toBe(0);
  expect(killMarked("LEFT_BY", new Set([mine]))).toBe(2);
  expect(await other.exited).toBe(137);
});
