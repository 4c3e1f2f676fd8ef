import { describe, expect, test } from "bun:test";
import { limitProblem, memoryWarning } from "../../../src/process/resource_limits.ts";

/** Files of a machine. */
function files(contents: Readonly<Record<string, string>>): (path: string) => string | undefined {
  return (path) => contents[path];
}

function limits(row: string, soft: string, hard = soft): (path: string) => string | undefined {
  const rows = new Map([
    ["Max data size", "unlimited            unlimited            bytes"],
    ["Max processes", "96365                96365                processes"],
    ["Max open files", "1024                 524288               files"],
    ["Max address space", "unlimited            unlimited            bytes"],
  ]);
  rows.set(row, `${soft.padEnd(20)} ${hard.padEnd(20)} units`);
  const text = [...rows].map(([name, rest]) => `${name.padEnd(25)} ${rest}     \n`).join("");
  return files({
    "/proc/self/limits":
      `Limit                     Soft Limit           Hard Limit           Units\n${text}`,
  });
}

const GIB = 2 ** 30;

describe("limitProblem()", () => {
  test("finds nothing in limits that are usual, or not known", () => {
    expect(limitProblem(limits("Max data size", "unlimited"), 1)).toBeUndefined();
    expect(limitProblem(files({}), 1)).toBeUndefined();
    expect(limitProblem()).toBeUndefined();
  });

  test.each([
    [
      "Max address space",
      String(2 * GIB),
      "this process is limited to 2 GiB of address space; it needs 3 GiB, of which it uses only " +
      'a small part as memory: set LimitAS=infinity in its systemd unit, or run "ulimit -v ' +
      'unlimited" ' +
      "before it (RLIMIT_AS)",
    ],
    [
      "Max data size",
      String(500 * 2 ** 20),
      "this process is limited to 500 MiB of data; it needs 3 GiB, of which it uses only a small " +
      'part as memory: set LimitDATA=infinity in its systemd unit, or run "ulimit -d unlimited" ' +
      "before it (RLIMIT_DATA)",
    ],
    [
      "Max open files",
      "63",
      "this process is limited to 63 open files; it needs 64: set LimitNOFILE=1024 in its " +
      'systemd unit, or run "ulimit -n 1024" before it (RLIMIT_NOFILE)',
    ],
    [
      "Max processes",
      "31",
      "this process is limited to 31 processes and threads of this user; it needs 32: set " +
      'LimitNPROC=infinity in its systemd unit, or run "ulimit -u unlimited" before it ' +
      "(RLIMIT_NPROC)",
    ],
  ])("names a limit that is too small: %s", (row, value, expected) => {
    expect(limitProblem(limits(row, value), 1)).toBe(expected);
  });

  test("leaves alone what is just enough, what the runtime raises, and what root is spared", () => {
    expect(limitProblem(limits("Max address space", String(3 * GIB)), 1)).toBeUndefined();
    expect(limitProblem(limits("Max open files", "16", "64"), 1)).toBeUndefined();
    expect(limitProblem(limits("Max processes", "1"), 0)).toBeUndefined();
  });
});

describe("memoryWarning()", () => {
  const WARNING = "this process's control group is limited to 50 MiB of memory";
  const LIMIT = `${50 * 2 ** 20}\n`;
  const MACHINES: readonly (readonly [string, Record<string, string>])[] = [
    ["of its own group, v2", {
      "/proc/self/cgroup": "0::/system.slice/flanneld.service\n",
      "/sys/fs/cgroup/system.slice/flanneld.service/memory.max": LIMIT,
    }],
    ["in a container, v2", {
      "/proc/self/cgroup": "0::/../../pod/1\n",
      "/sys/fs/cgroup/memory.max": LIMIT,
    }],
    ["of its own group, v1", {
      "/proc/self/cgroup": "4:cpu,memory:/pod/1\n1:cpu:/\n0::/\n",
      "/sys/fs/cgroup/memory/pod/1/memory.limit_in_bytes": LIMIT,
    }],
    ["in a container, v1", {
      "/proc/self/cgroup": "8:pids:/\n4:memory:/pod/1\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": LIMIT,
    }],
  ];

  test.each(MACHINES)("warns about little memory, %s", (_which, contents) => {
    expect(memoryWarning(files(contents))).toStartWith(WARNING);
  });

  test("says nothing where there is enough, no limit, or nothing known", () => {
    const group = (limit: string) =>
      files({ "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup//memory.max": limit });
    expect(memoryWarning(group(String(96 * 2 ** 20)))).toBeUndefined();
    expect(memoryWarning(group("max\n"))).toBeUndefined();
    expect(memoryWarning(files({}))).toBeUndefined();
    expect(memoryWarning(files({ "/proc/self/cgroup": "nonsense\n" }))).toBeUndefined();
  });
});
