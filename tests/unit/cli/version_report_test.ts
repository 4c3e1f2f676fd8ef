import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { versionReport } from "../../../src/cli/version_report.ts";

test("the report has the versions that the system's own programs print", () => {
  const manifest = JSON.parse(readFileSync("/proc/self/cwd/package.json", "utf8"));
  const release = output("sh", "-c", '. /etc/os-release; echo "$PRETTY_NAME"');
  const report = versionReport();
  expect(report).toEqual({
    version: `v${manifest.version}`,
    commit: "source",
    bun: manifest.devDependencies.bun,
    architecture: output("uname", "-m"),
    kernel: output("uname", "-r"),
    distribution: release,
    libc: `glibc ${output("getconf", "GNU_LIBC_VERSION").split(" ")[1]}`,
    libnl: {
      version: output("dpkg-query", "-W", "-f", "${Version}", "libnl-3-200").split("-")[0] ?? "",
      file: expect.stringContaining("/libnl-3.so.200"),
    },
  });
});

function output(...cmd: string[]): string {
  return Bun.spawnSync(cmd).stdout.toString().trim();
}
