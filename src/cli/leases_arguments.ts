/** `flanneld leases` and its subcommands: what they are, and how they are read. Pure. */

import { type Command, command } from "./command.ts";
import { boolean } from "./flag.ts";
import { readStoreOptions, STORE_FLAGS, type StoreOptions } from "./store_flags.ts";

export interface LeasesAction {
  readonly kind: "list";
  readonly store: StoreOptions;
  readonly json: boolean;
}

export const LEASES: Command<LeasesAction> = command({
  name: "leases",
  summary: "List the subnets of all nodes, and reserve and release subnets.",
  description: [
    "Reads the store that the flags name, without a daemon, and prints each lease: its subnets " +
    "and public addresses, the backend, whether it is a lease or a reservation, how long it " +
    "lasts, the host if that is alive, and why the daemons ignore it if they do.",
    "On a machine that has joined a datastore, no flag is needed.",
  ],
  flags: {
    json: boolean({
      name: "json",
      section: "flanneld leases",
      help: "Print one JSON document: docs/operate.md describes it.",
    }),
    ...STORE_FLAGS,
  },
  manual: {
    exitStatuses: [
      ["0", "It has done what was asked for."],
      ["1", "The store cannot be read or changed, or the change is refused."],
      ["2", "The command line or an environment variable is invalid."],
      ["130", "It was interrupted."],
      ["141", "The reader of the output has ended."],
    ],
    examples: [
      ["flanneld leases", "List the subnets of all nodes."],
      [
        "flanneld leases --json --etcd-endpoints=http://192.0.2.1:2379",
        "The same as JSON, from etcd at that address.",
      ],
    ],
  },
  read: (options) => ({ kind: "list", store: readStoreOptions(options), json: options.json }),
});
