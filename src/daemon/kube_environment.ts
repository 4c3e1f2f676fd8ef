/** Variables that the manifests of Go flannel set, and that change nothing here. */

import { escaped, quoted, truncated } from "../base/quoting.ts";
import { ConfigError } from "../config/config_error.ts";
import type { Log } from "../log/log.ts";

/** Throws `ConfigError` for a value with which Go flannel would not start. */
export function checkKubeEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  log: Log,
): void {
  const { EVENT_QUEUE_DEPTH: depth = "", CONT_WHEN_CACHE_NOT_READY: early = "" } = env;
  if (depth !== "" && !/^[+-]?\d+$/.test(depth)) {
    const shown = escaped(truncated(depth, 100));
    throw new ConfigError(
      `env EVENT_QUEUE_DEPTH=${shown} format error: it must be an integer; remove the variable, ` +
        "which has no effect otherwise",
    );
  }
  if (!["", "true", "false"].includes(early)) {
    log.warn(
      `CONT_WHEN_CACHE_NOT_READY is ${quoted(early)}, neither true nor false; it has no effect: ` +
        "flanneld waits until the API server answers",
    );
  }
}
