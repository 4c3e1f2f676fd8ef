import { expect, test } from "bun:test";
import { ConfigError } from "../../../src/config/config_error.ts";
import { checkKubeEnvironment } from "../../../src/daemon/kube_environment.ts";
import { collectingLog } from "../../support/collecting_log.ts";

function check(env: Readonly<Record<string, string>>): string[] {
  const { log, records } = collectingLog();
  checkKubeEnvironment(env, log);
  return records.map(({ level, msg }) => `${level} ${msg}`);
}

test.each(["", "0", "-1", "+5", "007", "5000"])("EVENT_QUEUE_DEPTH may be %p", (depth) => {
  expect(check({ EVENT_QUEUE_DEPTH: depth })).toEqual([]);
});

test.each(["x", "5k", "1.5", "0x10", " 5", "1_000"])(
  "with %p as EVENT_QUEUE_DEPTH, the daemon does not start, as Go flannel",
  (depth) => {
    const checking = () => check({ EVENT_QUEUE_DEPTH: depth });
    expect(checking).toThrow(ConfigError);
    expect(checking).toThrow(`env EVENT_QUEUE_DEPTH=${depth} format error: it must be an integer`);
  },
);

test("CONT_WHEN_CACHE_NOT_READY is true, false or nothing", () => {
  for (const value of ["true", "false", ""]) {
    expect(check({ CONT_WHEN_CACHE_NOT_READY: value })).toEqual([]);
  }
  expect(check({ CONT_WHEN_CACHE_NOT_READY: "yes" })).toEqual([
    'warn CONT_WHEN_CACHE_NOT_READY is "yes", neither true nor false; it has no effect: ' +
    "flanneld waits until the API server answers",
  ]);
  expect(check({})).toEqual([]);
});
