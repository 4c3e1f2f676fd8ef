import { expect, test } from "bun:test";
import { environmentOf, runningProcesses, statFields } from "../../../src/process/proc_files.ts";
import { eventually } from "../../support/wait.ts";

test("a running process has a state, and the environment that it was started with", async () => {
  const env = { PATH: process.env["PATH"] ?? "", MARK: "a=b" };
  const child = Bun.spawn(["sleep", "60"], { env });
  await eventually("it runs", 20_000, () => environmentOf(child.pid)?.get("MARK") === "a=b");
  expect(runningProcesses()).toContain(child.pid);
  expect(statFields(child.pid)?.[0]).toMatch(/^[RS]$/);
  child.kill("SIGKILL");
  await child.exited;
  expect(environmentOf(child.pid)).toEqual(new Map());
  expect(statFields(child.pid)).toBeUndefined();
});

test("an environment may be empty for good", async () => {
  const child = Bun.spawn(["env", "-i", "sleep", "60"]);
  await eventually("sleep runs", 20_000, () => environmentOf(child.pid)?.size === 0);
  child.kill("SIGKILL");
  await child.exited;
});
