import { expect, test } from "bun:test";
import { Readiness } from "../../../src/daemon/readiness.ts";
import { createLogger } from "../../../src/log/logger.ts";
import type { Notifier } from "../../../src/health/sd_notify.ts";

function record(): { notifier: Notifier; sent: string[] } {
  const sent: string[] = [];
  const notifier: Notifier = {
    isActive: true,
    ready: (status) => sent.push(`ready: ${status}`),
    status: (text) => sent.push(text),
    stopping: () => sent.push("stopping"),
    watchdog: () => ({ [Symbol.dispose]: () => undefined }),
  };
  return { notifier, sent };
}

test("a step of start-up is a problem and a status", () => {
  const { notifier, sent } = record();
  const progress = new Readiness(notifier);
  expect(progress.problems()).toEqual(["starting"]);
  progress.step("waiting for etcd");
  progress.step("waiting for etcd");
  expect(progress.problems()).toEqual(["waiting for etcd"]);
  expect(sent).toEqual(["waiting for etcd"]);
});

test("a ready node reports a problem when it comes, and its summary again when it goes", () => {
  const { notifier, sent } = record();
  const progress = new Readiness(notifier);
  let problems: string[] = [];
  progress.addCheck(() => problems);
  progress.ready(() => "subnet 10.5.1.0/24");
  expect(progress.problems()).toEqual([]);
  problems = ["no route", "no rules"];
  progress.refresh();
  progress.refresh();
  expect(progress.problems()).toEqual(["no route", "no rules"]);
  problems = [];
  progress.refresh();
  expect(sent).toEqual([
    "ready: subnet 10.5.1.0/24",
    "subnet 10.5.1.0/24; no route (and 1 more)",
    "subnet 10.5.1.0/24",
  ]);
});

test("a step is explained by the last line of the log, of whatever part, until the next step", () => {
  const { notifier, sent } = record();
  const progress = new Readiness(notifier);
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const log = progress.observe(createLogger({ format: "text", verbosity: 0, write }));
  progress.step("taking a subnet");
  const part = log.child({ component: "lease" });
  part.info("looking");
  part.warn({ lease: "10.5.1.0-24" }, "taking a subnet fails: connection refused");
  part.debug("trying again");
  expect(lines.map((line) => line.replace(/.*\d /, ""))).toEqual([
    "lease] looking\n",
    "lease] taking a subnet fails: connection refused lease=10.5.1.0-24\n",
  ]);
  progress.addCheck(() => ["no rules"]);
  expect(progress.problems()).toEqual([
    "taking a subnet",
    "no rules",
    "last in the log: taking a subnet fails: connection refused",
  ]);
  progress.refresh();
  part.error("x".repeat(10_000));
  expect(progress.problems().at(-1)).toBe(`last in the log: ${"x".repeat(500)}`);
  progress.step("setting up");
  expect(progress.problems()).toEqual(["setting up", "no rules"]);
  progress.ready(() => "subnet 10.5.1.0/24");
  log.info("ready");
  expect(progress.problems()).toEqual(["no rules"]);
  expect(sent).toEqual([
    "taking a subnet",
    "taking a subnet; no rules (and 1 more)",
    "setting up",
    "ready: subnet 10.5.1.0/24",
  ]);
});
