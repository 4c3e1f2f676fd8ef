/** `flanneld lab` as a user runs it: the compiled program starts itself in every host. */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BACKENDS } from "../../src/backend/backend_registry.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { FLANNELD } from "../support/host.ts";
import { eventually } from "../support/wait.ts";

/** Labs of this test only: `lab down` sees no others. */
const directory = mkdtempSync(join(tmpdir(), "lab-test-"));
const scripts = mkdtempSync(join(tmpdir(), "lab-test-"));
afterAll(() => {
  for (const one of [directory, scripts]) rmSync(one, { recursive: true, force: true });
});

const env = { PATH: process.env["PATH"], TMPDIR: directory };
const lab = (...args: string[]) =>
  runProgram(FLANNELD, ["lab", ...args], { env, timeoutMs: 110_000 });

const seen = new Set<string>();

/** Directories and namespaces of every lab that this test has started. */
function remains(): string[] {
  const labs = readdirSync(directory);
  for (const name of labs) seen.add(name);
  const namespaces = readdirSync("/run/netns").filter((name) =>
    [...seen].some((prefix) => name.startsWith(`${prefix}-`))
  );
  return [...labs, ...namespaces];
}

test.each(["vxlan", "host-gw"])(
  "a lab with %s pings every pair in both families and is removed",
  async (type) => {
    const result = await lab("--hosts=3", `--backend=${type}`, "--ipv6", "--json");
    const report = JSON.parse(result.stdout);
    expect(report.ok).toBe(true);
    expect(report.hosts).toHaveLength(3);
    expect(report.pings).toHaveLength(12);
    expect(result.exitCode).toBe(0);
    expect(remains()).toEqual([]);
  },
  120_000,
);

test("a lab with a real etcd works as well", async () => {
  const result = await lab("--hosts=2", "--etcd");
  expect(result.stderr).toContain("starting etcd\n");
  expect(result.stdout).toContain("2 of 2 pings at full MTU succeeded");
  expect(result.exitCode).toBe(0);
  expect(remains()).toEqual([]);
}, 120_000);

test("a lab that cannot be built fails with the reason and is removed", async () => {
  const result = await lab("--hosts=1", "--daemon=/bin/false");
  expect(result.exitCode).toBe(1);
  expect(result.stderr).toContain("the daemon of h1 exited with status 1");
  expect(result.stdout).toBe("");
  expect(remains()).toEqual([]);
}, 120_000);

/** Backends that some kernels lack; tests/vm has a kernel with all of them. */
const others = BACKENDS.types.filter((type) => !["alloc", "host-gw", "vxlan"].includes(type));

test.each(others)(
  "a lab with %s pings every pair, or names each feature that this machine lacks",
  async (type) => {
    const result = await lab("--hosts=2", `--backend=${type}`, "--json");
    if (result.exitCode === 0) {
      expect(JSON.parse(result.stdout)).toMatchObject({ ok: true, pings: { length: 2 } });
    } else {
      expect(result.stderr).toMatch(
        /^(flanneld lab: .*(modprobe -a|apt-get install|only there).*\n)+$/,
      );
    }
    expect(remains()).toEqual([]);
  },
  120_000,
);

test("a kept lab stays until lab down removes it", async () => {
  const result = await lab("--hosts=2", "--keep");
  expect(result.exitCode).toBe(0);
  expect(result.stdout).toContain("2 of 2 pings");
  expect(remains().length).toBeGreaterThan(5);
  expect((await lab("down")).exitCode).toBe(0);
  expect(remains()).toEqual([]);
}, 120_000);

/** A lab that keeps running: it waits for its daemons, each of which writes a line. */
function startEndlessLab(): { child: Bun.Subprocess; daemons: () => number } {
  const name = crypto.randomUUID();
  const [started, daemon] = [join(scripts, `${name}-started`), join(scripts, name)];
  writeFileSync(started, "");
  writeFileSync(daemon, `#!/bin/sh\necho >>${started}\nexec sleep 300\n`, { mode: 0o755 });
  const command = [FLANNELD, "lab", "--hosts=4", `--daemon=${daemon}`];
  const child = Bun.spawn(command, { env, stdout: "ignore", stderr: "ignore" });
  return { child, daemons: () => readFileSync(started).length };
}

test("Ctrl-C removes a lab that is being built, and ends with 130", async () => {
  const { child } = startEndlessLab();
  await eventually("it has begun", 30_000, () => remains().length > 4);
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  expect(remains()).toEqual([]);
}, 120_000);

test("lab down removes the remains of a killed lab", async () => {
  const { child, daemons } = startEndlessLab();
  // Then no process runs that would continue without it.
  await eventually("every daemon runs", 30_000, () => daemons() === 4);
  child.kill("SIGKILL");
  await child.exited;
  expect(remains().length).toBeGreaterThan(4);
  expect((await lab("down")).stderr).toMatch(/^removed fl-lab-/);
  expect(remains()).toEqual([]);
}, 120_000);

test("lab down ends the processes of a killed lab", async () => {
  const command = [FLANNELD, "lab", "--hosts=1000"];
  const child = Bun.spawn(command, { env, stdout: "ignore", stderr: "ignore" });
  // One program creates all of them, which takes some seconds.
  await eventually("some hosts exist", 30_000, () => remains().length > 10);
  child.kill("SIGKILL");
  await child.exited;
  const before = remains().length;
  await eventually("its helper continues to create hosts", 30_000, () => remains().length > before);
  expect((await lab("down")).stderr).toMatch(/^removed fl-lab-/);
  expect(remains()).toEqual([]);
}, 120_000);
