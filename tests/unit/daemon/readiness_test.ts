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
  const readiness = new Readiness(notifier);
  expect(readiness.problems()).toEqual(["starting"]);
  readiness.step("waiting for etcd");
  readiness.step("waiting for etcd");
  expect(readiness.problems()).toEqual(["waiting for etcd"]);
  expect(sent).toEqual(["waiting for etcd"]);
});

test("a ready node reports a problem while it lasts, and its summary otherwise", () => {
  const { notifier, sent } = record();
  const readiness = new Readiness(notifier);
  let problems: string[] = [];
  readiness.addCheck(() => problems);
  readiness.ready(() => "subnet 10.5.1.0/24");
  expect(readiness.problems()).toEqual([]);
  problems = ["no route", "no rules"];
  readiness.refresh();
  readiness.refresh();
  expect(readiness.problems()).toEqual(["no route", "no rules"]);
  problems = [];
  readiness.refresh();
  expect(sent).toEqual([
    "ready: subnet 10.5.1.0/24",
    "subnet 10.5.1.0/24; no route (and 1 more)",
    "subnet 10.5.1.0/24",
  ]);
});

test("a step is explained by the last log line of any part, until the next step", () => {
  const { notifier, sent } = record();
  const readiness = new Readiness(notifier);
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const log = readiness.observe(createLogger({ format: "text", verbosity: 0, write }));
  readiness.step("acquiring a subnet");
  const part = log.child({ component: "lease" });
  part.info("looking");
  part.warn({ lease: "10.5.1.0-24" }, "acquiring a subnet failed: connection refused");
  part.debug("trying again");
  expect(lines.map((line) => line.replace(/.*\d /, ""))).toEqual([
    "lease] looking\n",
    "lease] acquiring a subnet failed: connection refused lease=10.5.1.0-24\n",
  ]);
  readiness.addCheck(() => ["no rules"]);
  expect(readiness.problems()).toEqual([
    "acquiring a subnet",
    "no rules",
    "last log line: acquiring a subnet failed: connection refused",
  ]);
  readiness.refresh();
  part.error("x".repeat(10_000));
  expect(readiness.problems().at(-1)).toBe(`last log line: ${"x".repeat(1500)}…`);
  readiness.step("setting up");
  expect(readiness.problems()).toEqual(["setting up", "no rules"]);
  readiness.ready(() => "subnet 10.5.1.0/24");
  log.info("ready");
  expect(readiness.problems()).toEqual(["no rules"]);
  expect(sent).toEqual([
    "acquiring a subnet",
    "acquiring a subnet; no rules (and 1 more)",
    "setting up",
    "ready: subnet 10.5.1.0/24",
  ]);
});
