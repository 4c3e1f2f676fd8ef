import { describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { processStarts, type RunOptions, runProgram } from "../../../src/process/run_program.ts";
import { signalProcess } from "../../../src/process/signal_process.ts";
import { ProcessError } from "../../../src/process/process_error.ts";
import { findProgram, packageOf } from "../../../src/process/program_lookup.ts";
import { eventually } from "../../support/wait.ts";

const shell = (script: string, options?: RunOptions): ReturnType<typeof runProgram> =>
  runProgram("sh", ["-c", script], options);

async function fault(running: Promise<unknown>): Promise<string> {
  const error = await running.then(() => undefined, (reason: unknown) => reason);
  expect(error).toBeInstanceOf(ProcessError);
  const { fault, message } = error as ProcessError;
  return `${fault}: ${message}`;
}

describe("runProgram()", () => {
  test("returns status and output, and passes standard input", async () => {
    expect(await shell("cat; echo oops >&2; exit 3", { stdin: "zählen\n" }))
      .toEqual({ exitCode: 3, stdout: "zählen\n", stderr: "oops\n" });
  });

  test("gives no input when there is none", async () => {
    expect((await runProgram("cat", [])).stdout).toBe("");
  });

  test("passes large input and output", async () => {
    const stdin = "0123456789abcdef".repeat(100_000);
    expect((await runProgram("cat", [], { stdin })).stdout).toBe(stdin);
  });

  test("the environment is as given", async () => {
    const { stdout } = await runProgram("env", [], { env: { X: "y" } });
    expect(stdout).toBe("X=y\n");
  });

  test("without one, a program gets the variables that it needs, and no password", async () => {
    const before = { ...process.env };
    const own = {
      XTABLES_LOCKFILE: "/run/lock/x",
      FLANNELD_ETCD_PASSWORD: "secret",
      LANG: "de_DE",
    };
    Object.assign(process.env, own);
    const env = (await runProgram("env", [])).stdout;
    delete process.env["PATH"];
    const envWithoutPath = (await runProgram("env", [])).stdout;
    for (const name of Object.keys(own)) delete process.env[name];
    Object.assign(process.env, before);
    const { PATH, HOME } = before;
    expect(env.split("\n").filter(Boolean).sort()).toEqual([
      `HOME=${HOME}`,
      "LANG=C",
      "LC_ALL=C",
      ...(before["LD_LIBRARY_PATH"] ? [`LD_LIBRARY_PATH=${before["LD_LIBRARY_PATH"]}`] : []),
      `PATH=${PATH}`,
      "XTABLES_LOCKFILE=/run/lock/x",
    ]);
    expect(envWithoutPath).toContain("PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin\n");
  });

  test("a missing program is named with the package that contains it", async () => {
    expect(await fault(runProgram("/nonexistent/nft", []))).toBe(
      "not found: cannot run /nonexistent/nft: there is no such program (Debian package nftables)",
    );
    expect(await fault(runProgram("no-such-program", []))).toBe(
      "not found: cannot run no-such-program: there is no such program",
    );
  });

  test("a program that exceeds its time limit is killed with everything it started", async () => {
    const nap = `60.${Math.floor(Math.random() * 1e9)}`;
    expect(await fault(shell(`sleep ${nap} & sleep ${nap}`, { timeoutMs: 500 }))).toBe(
      "timeout: cannot run sh: it did not exit within 500 ms",
    );
    // A killed process ends when it is scheduled next; one that was missed sleeps for a minute.
    await eventually(
      "none sleeps",
      20_000,
      async () => (await shell(`pgrep -f -c '^sleep ${nap}$'`)).stdout === "0\n",
    );
  });

  test("an abort kills it and throws the reason", async () => {
    const begun = performance.now();
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("stopping")), 100);
    const running = shell("sleep 30", { signal: controller.signal });
    await expect(running).rejects.toThrow("stopping");
    expect(performance.now() - begun).toBeLessThan(15_000);
    await expect(shell("true", { signal: controller.signal })).rejects.toThrow("stopping");
  });

  test("output without end is cut off", async () => {
    expect(await fault(runProgram("yes", [], { maxOutputBytes: 10_000 }))).toBe(
      "output too large: cannot run yes: it wrote more than 10000 bytes",
    );
  });

  test("lines are passed on as they arrive, also those of a program that is killed", async () => {
    const lines: string[] = [];
    const script = "echo one; printf 'zwei \\303'; sleep 0.1; printf '\\244\\n\\nno end'; sleep 30";
    const stop = new AbortController();
    const onLine = (line: string) => lines.push(line);
    const running = shell(script, { signal: stop.signal, onLine }).catch((error: Error) => error);
    await eventually("three lines", 20_000, () => lines.length >= 3);
    expect(lines).toEqual(["one", "zwei ä", ""]);
    stop.abort(new Error("stopping"));
    expect(await running).toMatchObject({ message: "stopping" });
    expect(lines).toEqual(["one", "zwei ä", "", "no end"]);
  });

  test("a program that was killed is no result", async () => {
    expect(await fault(shell("kill -SEGV $$"))).toBe(
      "killed: cannot run sh: it was killed by SIGSEGV",
    );
  });

  test("a process left in the background does not delay the result", async () => {
    const begun = performance.now();
    const { stdout } = await shell("sleep 15 & echo done");
    expect(stdout).toBe("done\n");
    expect(performance.now() - begun).toBeLessThan(12_000);
  });

  test("a file that cannot be executed is an error, not a crash", async () => {
    const directory = mkdtempSync(`${tmpdir()}/process-`);
    const program = `${directory}/broken`;
    writeFileSync(program, "\x7fELF");
    chmodSync(program, 0o755);
    expect(await fault(runProgram(program, []))).toStartWith(
      `cannot start: cannot run ${program}: `,
    );
    rmSync(directory, { recursive: true });
  });

  test("starts are counted", async () => {
    const before = processStarts();
    await runProgram("true", []);
    await runProgram("no-such-program", []).catch(() => undefined);
    expect(processStarts() - before).toBe(1);
  });
});

describe("signalProcess()", () => {
  test("returns whether the process exists", async () => {
    const child = Bun.spawn(["sleep", "60"], { detached: true });
    expect(signalProcess(-child.pid, "SIGTERM")).toBe(true);
    await child.exited;
    expect(signalProcess(child.pid, "SIGTERM")).toBe(false);
    expect(signalProcess(-child.pid, "SIGTERM")).toBe(false);
  });
});

describe("findProgram()", () => {
  test("looks in PATH first, then in directories that a service's PATH often lacks", () => {
    const directory = mkdtempSync(`${tmpdir()}/process-`);
    writeFileSync(`${directory}/true`, "", { mode: 0o755 });
    writeFileSync(`${directory}/false`, "", { mode: 0o644 });
    expect(findProgram("true", directory)).toBe(`${directory}/true`);
    expect(findProgram("false", directory)).toMatch(/^\/(usr\/)?bin\/false$/);
    expect(findProgram("ip", "")).toMatch(/^(\/usr)?\/s?bin\/ip$/);
    expect(findProgram("no-such-program")).toBeUndefined();
    rmSync(directory, { recursive: true });
  });

  test("a relative directory of PATH is left out", () => {
    expect(findProgram("process_test.ts", "tests/unit/process")).toBeUndefined();
  });

  test("packages are known by program", () => {
    expect(packageOf("/usr/sbin/iptables-restore")).toBe("iptables");
    expect(packageOf("etcd")).toBe("etcd-server");
    expect(packageOf("unknown")).toBeUndefined();
  });
});
