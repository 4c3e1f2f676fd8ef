/** Go flannel's dist/mk-docker-opts.sh writes the same bytes as deploy/docker/mk-docker-opts.sh. */

import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DOCKER_OPTS_CASES,
  MK_DOCKER_OPTS,
  runMkDockerOpts,
  SUBNET_FILE,
} from "../support/mk_docker_opts.ts";
import { provided } from "../support/provided.ts";

let original: { shell: string; script: string };
const ours = { shell: "dash", script: MK_DOCKER_OPTS };

beforeAll(async () => {
  const source = await provided("interop/go_flannel.sh", { args: ["source"], timeoutMs: 60_000 });
  original = { shell: "dash", script: join(source, "dist/mk-docker-opts.sh") };
}, 60_000);

test.each(DOCKER_OPTS_CASES.map((row) => [row.name, row] as const))("%s", async (_name, row) => {
  const { exitCode, written } = await runMkDockerOpts(original, row);
  expect({ exitCode, written }).toEqual({ exitCode: 0, written: row.expected });
});

describe("faults of the original that ours does not have", () => {
  test.each([
    ["no subnet file is no failure", {}],
    ["a value with a space is a command", {
      subnetFile: SUBNET_FILE.replace("true", "true touched"),
    }],
    ["an option of the environment with a space is cut", {
      subnetFile: SUBNET_FILE,
      env: { DOCKER_OPT_A: "--label a" },
    }],
    ["a file that cannot be written is no failure", {
      args: ["-d", "none/docker.env"],
      subnetFile: SUBNET_FILE,
    }],
  ])("%s", async (_name, input) => {
    const [theirs, own] = [
      await runMkDockerOpts(original, input),
      await runMkDockerOpts(ours, input),
    ];
    expect({ ...own, stderr: "" }).not.toEqual({ ...theirs, stderr: "" });
  });
});
