import { expect, test } from "bun:test";
import { Progress } from "../../../src/daemon/progress.ts";
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
  const progress = new Progress(notifier);
  expect(progress.problems()).toEqual(["starting"]);
  progress.step("waiting for etcd");
  progress.step("waiting for etcd");
  expect(progress.problems()).toEqual(["waiting for etcd"]);
  expect(sent).toEqual(["waiting for etcd"]);
});

test("a ready node reports a problem when it comes, and its summary again when it goes", () => {
  const { notifier, sent } = record();
  const progress = new Progress(notifier);
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
