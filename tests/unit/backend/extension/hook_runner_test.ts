/** One command with a real shell: what it starts, what it prints, and how it ends. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import {
  type HookCall,
  HookError,
  HookRunner,
  MARK_VARIABLE,
} from "../../../../src/backend/extension/hook_runner.ts";
import { hookVariables } from "../../../../src/backend/extension/hook_input.ts";
import { killOrphans } from "../../../../src/process/orphan_processes.ts";
import { collectingLog, type LogRecord } from "../../../support/collecting_log.ts";
import { eventually } from "../../../support/wait.ts";
import { networks, Sandbox } from "./support.ts";

let sandbox: Sandbox;
let mark: string;
let records: readonly LogRecord[];

beforeEach(() => {
  sandbox = new Sandbox();
  mark = crypto.randomUUID();
});
afterEach(async () => {
  await killOrphans(MARK_VARIABLE, new Set([mark]));
  sandbox[Symbol.dispose]();
});

/** Runs it to its end; returns its output, or the error. */
async function run(command: string, more: Partial<HookCall> = {}): Promise<unknown> {
  const collected = collectingLog();
  records = collected.records;
  const env = { PATH: process.env["PATH"] ?? "", OUT: sandbox.path("out") };
  const variables = hookVariables({ networks, subnets: {}, publicAddresses: {} });
  const call: HookCall = {
    name: "SubnetAddCommand",
    subject: "10.5.2.0/24",
    command,
    input: { variables, stdin: "\n" },
    timeoutMs: 60_000,
    mark,
    signal: new AbortController().signal,
    ...more,
  };
  const runner = new HookRunner({ log: collected.log, env, clock: sandbox.clock });
  return await runner.run(call).catch((error) => error);
}

/** Process ids that have this call's mark. */
function marked(): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`${MARK_VARIABLE}=${mark}`);
    } catch {
      return false; // No process, or one that has just ended.
    }
  });
}

const allGone = () => eventually("all have been killed", 30_000, () => marked().length === 0);

/** A program in a session of its own, which has started once `$OUT` exists. */
const APART = "setsid sh -c ': > \"$OUT\"; exec sleep 600' </dev/null >/dev/null 2>&1 &";

describe("a command that is killed", () => {
  test("for its duration is killed with its processes in other sessions", async () => {
    const error = await run(`${APART} sleep 600`, { timeoutMs: 1000 });
    expect(error).toBeInstanceOf(HookError);
    expect(error).toMatchObject({
      command: "SubnetAddCommand",
      subject: "10.5.2.0/24",
      failure: { kind: "fault", error: { fault: "timeout" } },
    });
    expect((error as Error).message).toContain("did not exit within 1 s and was killed");
    await allGone();
  });

  test("because the daemon ends, too", async () => {
    const end = new AbortController();
    const running = run(`${APART} sleep 600`, { signal: end.signal });
    await eventually("it has started", 30_000, () => existsSync(sandbox.path("out")));
    end.abort(new Error("the daemon ends"));
    expect(((await running) as Error).message).toBe("the daemon ends");
    await allGone();
  });

  test("for the amount of its output, too, and only the first lines are in the log", async () => {
    const error = await run(`${APART} until [ -e "$OUT" ]; do :; done; yes`);
    expect((error as Error).message).toContain("it printed more than 1048576 bytes and was killed");
    await allGone();
    expect(records.filter(({ msg }) => msg.endsWith(": y"))).toHaveLength(100);
  });
});

test.each([
  ["its error", "echo first; echo reason >&2; echo last; exit 3", "reason"],
  ["the last of its errors", "echo first >&2; echo reason >&2; exit 3", "reason"],
  ["its output where it has no error", "echo first; echo last; exit 3", "last"],
])("a command that fails says its status and %s", async (_what, command, line) => {
  expect(await run(command)).toMatchObject({
    message: `SubnetAddCommand for 10.5.2.0/24 ended with status 3: ${line}`,
    failure: { kind: "exit status", status: 3 },
  });
});

test("background processes of a command that succeeds keep running", async () => {
  expect(await run(`${APART} until [ -e "$OUT" ]; do :; done; echo done`)).toBe("done\n");
  expect(marked()).toHaveLength(1);
});

test("a command that takes long is reported as running", async () => {
  const running = run('until [ -e "$OUT" ]; do sleep 0.05; done', { timeoutMs: 60_000 });
  const text = "SubnetAddCommand for 10.5.2.0/24 is still running after 2 s; its limit is 60 s";
  await sandbox.clock.advance(1999);
  expect(records).toEqual([]);
  await sandbox.clock.advance(1);
  expect(records.map(({ msg }) => msg)).toEqual([text]);
  writeFileSync(sandbox.path("out"), "");
  expect(await running).toBe("");
});
