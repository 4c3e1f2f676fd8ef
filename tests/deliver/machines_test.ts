/** The machines on which the other tests of this folder install and run flanneld. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { runningProcesses } from "../../src/process/proc_files.ts";
import { Machines } from "../support/machines/machines.ts";

describe("two machines", () => {
  let machines: Machines;

  beforeAll(async () => {
    machines = await Machines.create({
      count: 2,
      files: [{ path: "/usr/local/bin/hello", content: "#!/bin/sh\necho hello\n", mode: 0o755 }],
    });
    await machines.boot();
  }, 180_000);

  afterAll(async () => {
    await machines?.[Symbol.asyncDispose]();
  }, 60_000);

  test("have systemd as PID 1 and nothing that failed", async () => {
    for (const machine of machines.all) {
      expect(await machine.run("readlink /proc/1/exe")).toBe("/usr/lib/systemd/systemd\n");
      expect(await machine.run("hostname")).toBe(`${machine.name}\n`);
      expect(await machine.run("systemctl --failed --no-legend")).toBe("");
      expect(await machine.run("hello")).toBe("hello\n");
    }
  });

  test("have the same address on eth0, and on eth1 one of their own", async () => {
    const [one, two] = [machines.at(1), machines.at(2)];
    for (const machine of [one, two]) {
      expect(await machine.run("ip -4 -o address show dev eth0")).toContain("10.0.2.15/24");
      expect(await machine.run("ip route")).toContain("default via 10.0.2.2 dev eth0");
      await machine.run("ping -c 1 -W 5 10.0.2.2");
    }
    await one.run(`ping -c 1 -W 5 ${two.address(4)}`);
    await one.run(`ping -c 1 -W 5 ${two.address(6)}`);
  });

  test("have files of their own, which the host does not see", async () => {
    const [one, two] = [machines.at(1), machines.at(2)];
    const paths = ["/etc/of-one", "/dev/of-one", "/run/of-one", "/var/of-one"];
    await one.run(`touch ${paths.join(" ")}`);
    for (const path of paths) {
      expect(await two.run(`ls -d ${path} 2>&1 || true`)).toContain("No such file");
      expect(existsSync(path)).toBe(false);
    }
  });

  test("keep their files when they boot again, and lose their devices", async () => {
    const one = machines.at(1);
    for (const end of ["shutDown", "cutPower"] as const) {
      await one.write("/etc/kept/word", `${end}\n`, 0o600);
      await one.run("sync; ip link add gone type bridge");
      await one[end]();
      await one.write("/etc/kept/other", "while it was off\n");
      await one.boot();
      expect(await one.run("cat /etc/kept/word /etc/kept/other")).toBe(
        `${end}\nwhile it was off\n`,
      );
      expect(await one.run("stat -c %a /etc/kept/word")).toBe("600\n");
      expect(readdirSync("/sys/class/net")).not.toContain("gone");
      expect(await one.run("ip link")).not.toContain("gone");
    }
  }, 120_000);

  test("keep a journal", async () => {
    await machines.at(1).run("systemd-run --unit said --wait echo a word");
    expect(await machines.at(1).journal("said")).toContain("a word\n");
  });
});

test("a machine with a unit that fails says which, and leaves nothing behind", async () => {
  const before = traces();
  const directory = "/etc/systemd/system";
  let prefix = "";
  {
    await using machines = await Machines.create({
      count: 1,
      files: [
        {
          path: `${directory}/broken.service`,
          content: "[Service]\nType=oneshot\nExecStart=/bin/false\n",
        },
        {
          path: `${directory}/multi-user.target.d/broken.conf`,
          content: "[Unit]\nWants=broken.service\n",
        },
      ],
    });
    ({ prefix } = machines);
    expect(readdirSync("/sys/fs/cgroup").join()).toContain(prefix);
    expect(await machines.boot().catch(String)).toMatch(/node1 is degraded.*broken\.service/s);
  }
  expect(traces()).toEqual(before);
  expect(readdirSync("/sys/fs/cgroup").join()).not.toContain(prefix);
}, 180_000);

/** What a set of machines makes outside of itself. */
function traces(): object {
  return {
    mounts: readFileSync("/proc/self/mounts", "utf8").split("\n")
      .filter((line) => !line.includes(" /sys/fs/cgroup ")),
    links: readdirSync("/sys/class/net"),
    namespaces: existsSync("/run/netns") ? readdirSync("/run/netns") : [],
    processes: runningProcesses(),
  };
}
