/**
 * The logger that every component is given. It has pino's interface, so `log.warn({ lease: key },
 * "…")` works everywhere, and a test can pass one that collects.
 *
 * Levels: `error` needs an operator; `warn` may need one; `info` is what an operator wants to find
 * afterwards; `debug` (`-v 1`) explains decisions; `trace` (`-v 4`) is one line for each step from
 * an event to the kernel's acknowledgement.
 *
 * A message is complete without its fields. Fields are for filters, and have the same name
 * everywhere:
 *
 * | field       | value                                                          |
 * |-------------|----------------------------------------------------------------|
 * | `component` | what logs: `lease`, `reconcile`, `firewall`, `vxlan`, …        |
 * | `err`       | an error; its stack is printed at `debug`, `trace` and `fatal` |
 * | `stack`     | the stack of an error that is a bug of this program            |
 * | `lease`     | the key of a lease, or `node` for this node's own entries      |
 * | `revision`  | a revision of the store                                        |
 * | `prefix`    | a prefix of keys in etcd                                       |
 * | `event`     | of a lease: `snapshot`, `put`, `delete`                        |
 * | `device`    | a network interface                                            |
 * | `entry`     | a kernel entry in the notation of `ip` and `bridge`            |
 * | `batch`     | the number of a batch of netlink messages                      |
 * | `op`        | a step of a batch: `set`, `change`, `delete`                   |
 * | `errno`     | the kernel's error, such as `EEXIST`                           |
 * | `family`    | the address family, 4 or 6                                     |
 * | `table`     | an nftables table; `chain`: one of its chains                  |
 *
 * docs/troubleshooting.md shows how to follow a change with them.
 *
 * Arguments are computed even if the level is off. Where that costs something, check the level
 * first: `if (log.isLevelEnabled("trace")) log.trace({ entry: resourceText(entry) }, "…")`.
 */

import type { Logger } from "pino";

export type Log = Pick<
  Logger,
  "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "child" | "isLevelEnabled"
>;
