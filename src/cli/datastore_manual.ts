/** What the manual says about `flanneld datastore` besides its flags. */

import type { CommandManual } from "./command.ts";

export const DATASTORE_MANUAL: CommandManual = {
  variables: [
    ["NOTIFY_SOCKET", "Where systemd receives READY=1 when clients are served."],
  ],
  files: [
    [
      "/var/lib/flannel/datastore",
      "The data, as SQLite files: all keys and values. Only its owner can read it.",
    ],
  ],
  signals: [
    [
      "SIGTERM, SIGINT",
      "The server ends; a subcommand is interrupted, and can be repeated.",
    ],
  ],
  exitStatuses: [
    ["0", "The subcommand has succeeded, or the server was stopped by a signal."],
    ["1", "It failed; the last line says why."],
    ["2", "An argument is invalid."],
    ["130", "A subcommand was interrupted."],
  ],
  examples: [
    [
      "flanneld datastore --listen 192.0.2.1:2379 --network 10.5.0.0/16",
      "Serve a first cluster, and configure its network.",
    ],
    [
      "flanneld datastore export --etcd-endpoints http://192.0.2.1:2379 > keys.json",
      "Save all keys.",
    ],
    [
      "flanneld datastore migrate --to http://192.0.2.9:2379",
      "On its machine, move to etcd while the network is in use.",
    ],
  ],
};
