import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProcessError } from "../../../src/process/process_error.ts";
import { startDetached } from "../../../src/process/detached_process.ts";
import { eventually } from "../../support/wait.ts";

const directory = mkdtempSync(join(tmpdir(), "service-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

function script(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

test("the lines of both streams arrive, and no variable is inherited", async () => {
  const lines: string[] = [];
  const path = script("lines", 'echo "out $NAME"; echo "err $HOME" >&2; exit 3');
  const program = startDetached(path, [], {
    env: { NAME: "x", PATH: "/bin" },
    onLine: (line) => lines.push(line),
  });
  expect(await program.exited).toBe(3);
  expect(lines.sort()).toEqual(["err ", "out x"]);
});

test("a killed program has the status that a shell gives it", async () => {
  const path = script("sleeper", "echo here; exec sleep 60");
  const lines: string[] = [];
  const program = startDetached(path, [], {
    env: { PATH: "/bin:/usr/bin" },
    onLine: (line) => lines.push(line),
  });
  await eventually("it runs", 20_000, () => lines.length === 1);
  program.signal("SIGKILL");
  expect(await program.exited).toBe(137);
});

test("a program outlives the process that started it, and can still write", async () => {
  const done = join(directory, "done");
  const path = script("survivor", `trap "" PIPE; sleep 0.5; echo lost; echo "$?" >${done}`);
  const starter = `import { startDetached } from ${
    JSON.stringify(join(import.meta.dir, "../../../src/process/detached_process.ts"))
  }; startDetached(${
    JSON.stringify(path)
  }, [], { env: { PATH: "/bin:/usr/bin" }, onLine: () => {} });
  setTimeout(() => process.kill(process.pid, "SIGKILL"), 100);`;
  Bun.spawnSync([process.execPath, "-e", starter]);
  await eventually("it has run to its end", 20_000, () => {
    try {
      return readFileSync(done, "utf8") !== "";
    } catch {
      return false;
    }
  });
});

test("a missing program is an error that names it", () => {
  const start = () => startDetached(join(directory, "none"), [], { env: {}, onLine: () => {} });
  expect(start).toThrow(ProcessError);
  expect(start).toThrow(`cannot run ${join(directory, "none")}: there is no such program`);
});
