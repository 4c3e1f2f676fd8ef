/** `flanneld leases` and its subcommands: what they are, and how they are read. Pure. */

import { familiesOf, type PerFamily } from "../addr/family.ts";
import { familyOf, type IpAddress, parseIpAddress } from "../addr/ip.ts";
import { parsePrefix, type Prefix } from "../addr/prefix.ts";
import { type Argument, argument } from "./argument.ts";
import { type Command, command } from "./command.ts";
import { boolean } from "./flag.ts";
import { splitList } from "./flag_values.ts";
import { readStoreOptions, STORE_FLAGS, type StoreOptions } from "./store_flags.ts";
import { STORE_MANUAL } from "./store_manual.ts";

export type LeasesAction =
  | { readonly kind: "list"; readonly store: StoreOptions; readonly json: boolean }
  | {
    readonly kind: "reserve";
    readonly store: StoreOptions;
    readonly subnets: PerFamily<Prefix>;
    readonly addresses: PerFamily<IpAddress>;
  }
  | {
    readonly kind: "release";
    readonly store: StoreOptions;
    /** A subnet or a key. */
    readonly subnet: string;
    readonly force: boolean;
  };

const RESERVE: Command<LeasesAction> = command({
  name: "reserve",
  summary: "Reserve a subnet for the node with a public address.",
  description: [
    "The node gets this subnet at its next start and keeps it: a reservation never expires. If " +
    "the node has the subnet already, its lease becomes a reservation at once.",
    "In a dual-stack network, give both subnets, separated by a comma.",
  ],
  flags: STORE_FLAGS,
  arguments: {
    subnets: perFamily({
      metavar: "SUBNET",
      help: "The subnet, such as 10.5.7.0/24, or 10.5.7.0/24,fc00:0:0:7::/64.",
      parse: parsePrefix,
      allowed: "a subnet such as 10.5.7.0/24, or one of each family, separated by a comma",
    }),
    addresses: perFamily({
      metavar: "ADDRESS",
      help: "The public address of the node, such as 192.0.2.7.",
      parse: parseIpAddress,
      allowed: "an address such as 192.0.2.7, or one of each family, separated by a comma",
    }),
  },
  read: (options, { subnets, addresses }) => ({
    kind: "reserve",
    store: readStoreOptions(options),
    subnets,
    addresses,
  }),
});

const RELEASE: Command<LeasesAction> = command({
  name: "release",
  summary: "Delete a lease or a reservation.",
  description: [
    "Another node can then get the subnet. This is refused while its node is alive: while the " +
    "session of that node exists, or if it has renewed the lease within the last hour.",
  ],
  flags: {
    force: boolean({
      name: "force",
      section: "flanneld leases release",
      help: "Release it even if its node is alive.",
    }),
    ...STORE_FLAGS,
  },
  arguments: {
    subnet: argument({
      metavar: "SUBNET",
      help: "One of the subnets of the lease, such as 10.5.7.0/24, or its key.",
    }),
  },
  read: (options, { subnet }) => ({
    kind: "release",
    store: readStoreOptions(options),
    subnet,
    force: options.force,
  }),
});

export const LEASES: Command<LeasesAction> = command({
  name: "leases",
  summary: "List the subnets of all nodes, and reserve and release subnets.",
  description: [
    "Reads the store that the flags name, without a daemon, and prints each lease: its subnets " +
    "and public addresses, the backend, whether it is a lease or a reservation, when it " +
    "expires, the host if it is alive, and, if the daemons ignore it, why.",
    "On a machine that has joined a datastore, no flag is needed.",
  ],
  commands: [RESERVE, RELEASE],
  flags: {
    json: boolean({
      name: "json",
      section: "flanneld leases",
      help: "Print one JSON document, which docs/operate.md describes.",
    }),
    ...STORE_FLAGS,
  },
  manual: {
    ...STORE_MANUAL,
    exitStatuses: [
      ["0", "Success."],
      ["1", "The store cannot be read or changed, or the change is refused."],
      ...STORE_MANUAL.exitStatuses,
    ],
    examples: [
      ["flanneld leases", "List the subnets of all nodes."],
      [
        "flanneld leases --json --etcd-endpoints=http://192.0.2.1:2379",
        "The same as JSON, from etcd at that address.",
      ],
      [
        "flanneld leases reserve 10.5.7.0/24 192.0.2.7",
        "Reserve a subnet for the node with this address.",
      ],
      ["flanneld leases release 10.5.7.0/24", "Delete the lease of a node that no longer exists."],
    ],
  },
  read: (options) => ({ kind: "list", store: readStoreOptions(options), json: options.json }),
});

/** One value of each family, separated by a comma. */
function perFamily<T extends string>({ parse, allowed, ...text }: {
  readonly metavar: string;
  readonly help: string;
  readonly parse: (text: string) => T | undefined;
  readonly allowed: string;
}): Argument<PerFamily<T>> {
  return {
    ...argument(text),
    read([given = ""]) {
      const items = splitList(given);
      const values: { 4?: T; 6?: T } = {};
      for (const item of items) {
        const value = parse(item);
        if (value !== undefined) values[familyOf(value)] = value;
      }
      const isComplete = items.length > 0 && familiesOf(values).length === items.length;
      return isComplete ? { value: values } : { allowed };
    },
  };
}
