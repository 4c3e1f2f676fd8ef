import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { type StopSignal, TopologyRecord } from "../../../src/lab/topology_record.ts";
import { eventually } from "../../support/wait.ts";

const KIND = "fl-record-test";

/** Removes a topology with one process, and returns the signals that the process has noticed. */
async function signalsAtRemoval(stopSignal: StopSignal): Promise<string> {
  const record = TopologyRecord.create(KIND, systemClock);
  const notices = `${record.directory}.notices`;
  const ready = join(record.directory, "ready");
  const script =
    `trap 'echo TERM >${notices}; exit' TERM; : >${ready}; while :; do sleep 0.1; done`;
  const child = Bun.spawn(["sh", "-c", script]);
  await eventually("the process has its trap", 10_000, () => existsSync(ready));
  record.addProcess(child.pid, stopSignal);
  await record.remove();
  await child.exited;
  expect(existsSync(record.directory)).toBe(false);
  if (!existsSync(notices)) return "";
  const text = readFileSync(notices, "utf8");
  await Bun.file(notices).delete();
  return text;
}

test("a removal asks processes to end", async () => {
  expect(await signalsAtRemoval("SIGTERM")).toBe("TERM\n");
}, 20_000);

test("a removal ends at once those that are recorded with SIGKILL", async () => {
  expect(await signalsAtRemoval("SIGKILL")).toBe("");
}, 20_000);
