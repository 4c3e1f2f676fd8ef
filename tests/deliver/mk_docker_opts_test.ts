/** deploy/docker/mk-docker-opts.sh, with the shells that hosts have. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { runProgram } from "../../src/process/run_program.ts";
import {
  DOCKER_OPTS_CASES,
  type DockerOptsInput,
  MK_DOCKER_OPTS,
  runMkDockerOpts,
  SUBNET_FILE,
} from "../support/mk_docker_opts.ts";
import { runCommand } from "../support/run_command.ts";

const DASH = { shell: "dash", script: MK_DOCKER_OPTS };

test("shellcheck has no complaint", async () => {
  await runCommand("shellcheck", [MK_DOCKER_OPTS]);
});

describe.each(["dash", "bash", "busybox sh"])("%s", (shell) => {
  const run = (input: DockerOptsInput) => runMkDockerOpts({ shell, script: MK_DOCKER_OPTS }, input);

  test.each(DOCKER_OPTS_CASES.map((row) => [row.name, row] as const))("%s", async (_name, row) => {
    const { exitCode, stdout, stderr, written } = await run(row);
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    expect(written).toBe(row.expected);
  });

  test("keeps spaces and quotes of an option", async () => {
    const env = { DOCKER_OPT_A: '--label=a="b  c"', DOCKER_OPT_B: "--label=$HOME *\\`" };
    const { exitCode, written } = await run({ args: ["-im"], subnetFile: SUBNET_FILE, env });
    expect(exitCode).toBe(0);
    const read = await runProgram("sh", [
      "-ec",
      `eval "$0"; printf '%s\\n' "$DOCKER_OPT_A"
printf '%s\\n' "$DOCKER_OPT_B"`,
      written ?? "",
    ]);
    expect(read.stdout).toBe(`${env.DOCKER_OPT_A}\n${env.DOCKER_OPT_B}\n`);
  });

  test("reads lines that end as on Windows", async () => {
    const subnetFile = SUBNET_FILE.replaceAll("\n", "\r\n");
    const { written } = await run({ args: ["-cm"], subnetFile });
    expect(written).toBe('DOCKER_OPTS=" --bip=10.5.72.1/24 --mtu=1450"\n');
  });

  test("runs no command of the subnet file", async () => {
    const subnetFile = `${SUBNET_FILE}echo run\nFLANNEL_NETWORK=$(echo run >&2)\n`;
    expect(await run({ args: ["-m"], subnetFile })).toMatchObject({ stdout: "", stderr: "" });
  });

  test("writes to standard output", async () => {
    const command = `${shell} ${MK_DOCKER_OPTS} -f none -im -d /dev/stdout | cat`;
    const env = { PATH: process.env["PATH"], FLANNEL_SUBNET: "10.5.72.1/24" };
    const { stdout } = await runProgram("sh", ["-c", command], { env });
    expect(stdout).toBe('DOCKER_OPT_BIP="--bip=10.5.72.1/24"\n');
  });

  test("names arguments that it ignores", async () => {
    const { stderr, written } = await run({ args: ["-i", "x", "-c"], subnetFile: SUBNET_FILE });
    expect(stderr).toBe('mk-docker-opts.sh: ignoring the arguments "x -c"; see -h\n');
    expect(written).not.toContain("DOCKER_OPTS");
  });

  test("prints its options", async () => {
    for (const option of ["-h", "-?"]) {
      const { exitCode, stdout } = await run({ args: [option] });
      expect(exitCode).toBe(0);
      expect([...stdout.matchAll(/^ {2}(-\w)/gm)].map(([, letter]) => letter))
        .toEqual(["-f", "-d", "-i", "-c", "-k", "-m", "-h"]);
    }
  });
});

const changed = (from: string, to: string) => ({ subnetFile: SUBNET_FILE.replace(from, to) });
const address = "it must be an address such as 10.5.72.1/24";
test.each<[string, DockerOptsInput, string]>([
  ["no subnet file", {}, "cannot read ./subnet.env; start flanneld, or name its"],
  ["a directory", { args: ["-f", "."] }, "cannot read .; start flanneld"],
  ["an empty subnet file", { subnetFile: "" }, "./subnet.env has no FLANNEL_SUBNET; flanneld"],
  [
    "a value with a space",
    changed("1450", "1450 --debug"),
    "line 3 of ./subnet.env is not NAME=VALUE: FLANNEL_MTU=1450 --debug",
  ],
  [
    "a quoted value with a space",
    changed("10.5.72.1/24", '"10.5.72.1/24 --debug"'),
    `FLANNEL_SUBNET in ./subnet.env is "10.5.72.1/24 --debug"; ${address}`,
  ],
  [
    "an address without a length",
    changed(".1/24", ".1"),
    `FLANNEL_SUBNET in ./subnet.env is "10.5.72.1"; ${address}`,
  ],
  [
    "an octet with a leading zero",
    changed(".1/24", ".08/24"),
    `FLANNEL_SUBNET in ./subnet.env is "10.5.72.08/24"; ${address}`,
  ],
  ["an MTU with a unit", changed("1450", "1450b"), 'is "1450b"; it must be a number of bytes'],
  ["an invalid IPMASQ", changed("true", "yes"), 'FLANNEL_IPMASQ in ./subnet.env is "yes"; it'],
  ["another option", { args: ["-x"] }, "unknown option -x; see -h"],
  ["an option without its value", { args: ["-k"] }, "-k needs a value; see -h"],
  ["a key that is no name", { args: ["-k", "a b"] }, '-k is "a b"; it must be the name of a'],
  [
    "a file in a directory that does not exist",
    { args: ["-d", "none/docker.env"], subnetFile: SUBNET_FILE },
    "none/docker.env: ",
  ],
])("fails in one line: %s", async (_name, input, message) => {
  const { exitCode, stdout, stderr, written } = await runMkDockerOpts(DASH, input);
  expect({ exitCode, stdout, written }).toEqual({ exitCode: 1, stdout: "", written: undefined });
  expect(stderr).toMatch(/^[^\n]*mk-docker-opts\.sh: [^\n]+\n$/);
  expect(stderr).toContain(message);
});

describe("a route of the subnet to another host", () => {
  beforeAll(() => runCommand("ip", ROUTE("add")));
  afterAll(() => runCommand("ip", ROUTE("delete")));

  test("is a failure, after the file is written", async () => {
    const { exitCode, stderr, written } = await runMkDockerOpts(DASH, {
      args: ["-im"],
      subnetFile: SUBNET_FILE,
    });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^mk-docker-opts\.sh: the route "10\.5\.72\.0\/24 via .*remove it\n$/);
    expect(written).toContain("--bip=10.5.72.1/24");
  });

  test("is not one of a subnet whose digits end in the same way", async () => {
    const subnetFile = SUBNET_FILE.replace("10.5.72.1", "0.5.72.1");
    expect(await runMkDockerOpts(DASH, { subnetFile })).toMatchObject({ exitCode: 0 });
  });
});

const ROUTE = (action: string) => [
  ...["route", action, "10.5.72.0/24", "via", "192.0.2.1", "dev", "lo", "onlink"],
];
