import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProcessError } from "../../../src/process/process.ts";
import { startService } from "../../../src/process/service_process.ts";
import { eventually } from "../../support/wait.ts";

const directory = mkdtempSync(join(tmpdir(), "service-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

function script(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

test("a service's lines arrive, of both streams, and its environment is what it is given", async () => {
  const lines: string[] = [];
  const path = script("lines", 'echo "out $NAME"; echo "err $HOME" >&2; exit 3');
  const service = startService(path, {
    env: { NAME: "x", PATH: "/bin" },
    onLine: (line) => lines.push(line),
  });
  expect(await service.exited).toBe(3);
  expect(lines.sort()).toEqual(["err ", "out x"]);
});

test("a killed one has the status that a shell gives it", async () => {
  const path = script("sleeper", "echo here; exec sleep 60");
  const lines: string[] = [];
  const service = startService(path, {
    env: { PATH: "/bin:/usr/bin" },
    onLine: (line) => lines.push(line),
  });
  await eventually("it runs", 20_000, () => lines.length === 1);
  service.kill();
  expect(await service.exited).toBe(137);
});

test("it outlives the process that started it, and may go on writing", async () => {
  const done = join(directory, "done");
  const path = script("survivor", `trap "" PIPE; sleep 0.5; echo lost; echo "$?" >${done}`);
  const starter = `import { startService } from ${
    JSON.stringify(join(import.meta.dir, "../../../src/process/service_process.ts"))
  }; startService(${JSON.stringify(path)}, { env: { PATH: "/bin:/usr/bin" }, onLine: () => {} });
  setTimeout(() => process.kill(process.pid, "SIGKILL"), 100);`;
  Bun.spawnSync([process.execPath, "-e", starter]);
  await eventually("it has gone on", 20_000, () => {
    try {
      return readFileSync(done, "utf8") !== "";
    } catch {
      return false;
    }
  });
});

test("one that is not there is an error that names it", () => {
  const start = () => startService(join(directory, "none"), { env: {}, onLine: () => {} });
  expect(start).toThrow(ProcessError);
  expect(start).toThrow(`cannot run ${join(directory, "none")}: `);
});
