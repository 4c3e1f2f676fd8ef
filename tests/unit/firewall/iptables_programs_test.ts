import { expect, test } from "bun:test";
import { iptablesFailure, runIptables } from "../../../src/firewall/iptables/iptables_programs.ts";
import { FirewallError } from "../../../src/firewall/rules/rule_target.ts";

function failure(exitCode: number, stderr: string): FirewallError {
  return iptablesFailure("iptables-restore", { exitCode, stderr, stdout: "" });
}

test("iptablesFailure() names the program, its status and its message in one line", () => {
  const { message, kind } = failure(1, "line 3 failed\n  try --help\n");
  expect(message).toBe(
    "cannot use iptables: iptables-restore exited with status 1: line 3 failed; try --help",
  );
  expect(kind).toBe("other");
});

test.each([
  `iptables-restore v1.6.0: unknown option "--random-fully"`,
  "RULE_APPEND failed (Operation not supported): rule in chain FLANNEL-POSTRTG",
  "unsupported revision",
])("iptablesFailure() with %p is about an unsupported feature", (stderr) => {
  expect(failure(2, stderr).kind).toBe("unsupported");
});

test.each([
  "iptables-restore: unable to initialize table 'filter'",
  "can't initialize iptables table `nat': Permission denied (you must be root)",
])("iptablesFailure() with %p names CAP_NET_RAW if that is missing", (stderr) => {
  const message = (capabilities: string) => {
    const result = { exitCode: 2, stderr, stdout: "" };
    return iptablesFailure("iptables-restore", result, `CapEff:\t${capabilities}\n`).message;
  };
  expect(message("0000000000001000")).toContain("; missing CAP_NET_RAW, which iptables-legacy");
  expect(message("0000000000003000")).not.toContain("CAP_NET_RAW");
});

test("iptablesFailure() says that another program holds the lock", () => {
  const { message, kind } = failure(4, "Another app is currently holding the xtables lock.");
  expect(message).toBe(
    "cannot use iptables: another program has held the xtables lock for more than 5 s " +
      "(Another app is currently holding the xtables lock.)",
  );
  expect(kind).toBe("other");
});

test("runIptables() throws FirewallError with the package of a missing program", async () => {
  await expect(runIptables("/nowhere/iptables-save", [])).rejects.toMatchObject({
    name: "FirewallError",
    message: "cannot use iptables: cannot run /nowhere/iptables-save: there is no such program " +
      "(Debian package iptables)",
  });
});
