/** The programs that this executable is, with all their subcommands. */

import { argument, optionalArgument, repeatedArgument } from "./argument.ts";
import { type Command, command, mapAction } from "./command.ts";
import { CONFIG, type ConfigAction } from "./config_arguments.ts";
import type { DaemonAction } from "./daemon_arguments.ts";
import { DAEMON, type VersionAction } from "./daemon_command.ts";
import { DATASTORE, type DatastoreAction } from "./datastore_arguments.ts";
import { boolean, type OptionsOf } from "./flag.ts";
import { INSTALL_CNI_FLAGS } from "./install_cni_flags.ts";
import { LAB, type LabAction } from "./lab_arguments.ts";
import { LEASES, type LeasesAction } from "./leases_arguments.ts";
import { PEERS_FLAGS, STATUS_FLAGS } from "./status_flags.ts";

/** What a command line asks for. */
export type ProgramAction =
  | DaemonAction
  | { readonly kind: "lab"; readonly action: LabAction }
  | { readonly kind: "datastore"; readonly action: DatastoreAction }
  | { readonly kind: "leases"; readonly action: LeasesAction }
  | { readonly kind: "config"; readonly action: ConfigAction }
  | { readonly kind: "cni" }
  | { readonly kind: "install-cni"; readonly options: OptionsOf<typeof INSTALL_CNI_FLAGS> }
  | { readonly kind: "install-conf"; readonly source: string; readonly target: string }
  | { readonly kind: "licenses" }
  | { readonly kind: "status"; readonly options: OptionsOf<typeof STATUS_FLAGS> }
  | {
    readonly kind: "peers";
    readonly options: OptionsOf<typeof PEERS_FLAGS> & { readonly target: string | undefined };
  }
  | VersionAction
  /** `names`: the subcommand that is asked about, and those above it. */
  | { readonly kind: "help"; readonly names: readonly string[] };

const CNI: Command<ProgramAction> = command({
  name: "cni",
  summary: "Connect a container to the network, for container runtimes: the CNI plugin.",
  redirection: "< NETWORK-CONFIGURATION",
  description: [
    "The CNI plugin of the type flannel, for container runtimes: it reads this node's subnet " +
    "from /run/flannel/subnet.env and lets another plugin (bridge) connect the container. It is " +
    "also started under the name flannel: flanneld install-cni copies this program to " +
    "/opt/cni/bin/flannel.",
    "The command and the container are in the environment: CNI_COMMAND (ADD, DEL, CHECK, STATUS, " +
    "GC or VERSION), CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, CNI_PATH. The result, or " +
    "an error, is JSON on standard output.",
  ],
  read: () => ({ kind: "cni" }),
});

const INSTALL_CNI: Command<ProgramAction> = command({
  name: "install-cni",
  summary: "Install the CNI plugin and its configuration on this node.",
  description: [
    "Installs the CNI plugin on this node, for a container runtime: copies this program to " +
    "flannel, and the list of plugins to 10-flannel.conflist. Both are replaced atomically, and " +
    "only if they differ. The plugins bridge, host-local, loopback and portmap have to be there " +
    "already.",
  ],
  flags: INSTALL_CNI_FLAGS,
  read: (options) => ({ kind: "install-cni", options }),
});

const LICENSES: Command<ProgramAction> = command({
  name: "licenses",
  summary: "Print the licenses of this program and of the software that it contains.",
  read: () => ({ kind: "licenses" }),
});

const STATUS: Command<ProgramAction> = command({
  name: "status",
  summary: "Show what the daemons on this host are doing, and what is wrong.",
  description: [
    "Asks each daemon on this host for its state, over the socket next to its subnet file: its " +
    "subnet, interface, MTU, store, rules, peers and last repairs, why it is not ready, and what " +
    "to do about it.",
  ],
  flags: STATUS_FLAGS,
  manual: {
    files: [
      ["/run/flannel/flanneld.sock", "The socket of the daemon with the default --subnet-file."],
    ],
    exitStatuses: [
      ["0", "Each daemon is ready."],
      ["1", "A daemon is not ready, or does not answer."],
      ["2", "An argument is invalid."],
      ["3", "No daemon runs."],
    ],
    examples: [
      ["flanneld status --watch", "Show it continuously."],
      ["flanneld status --json", "Print it for a monitoring program."],
    ],
  },
  read: (options) => ({ kind: "status", options }),
});

const PEERS: Command<ProgramAction> = command({
  name: "peers",
  summary: "Show the other nodes, and the path of a packet to one of them.",
  description: [
    "Lists the other nodes as the running daemon knows them: a row for each, with its subnets, " +
    "its public addresses, how it is reached, and its problem if it has one.",
    "With the address of a workload, also shows the path of a packet to it through the kernel's " +
    "tables, step by step: the route that the kernel chooses, each entry for the node, and the " +
    "route of the outer packet. A step that is wrong is marked, with the reason.",
  ],
  flags: PEERS_FLAGS,
  arguments: {
    target: optionalArgument({
      metavar: "SUBNET|ADDRESS",
      help: "Only the node with this subnet, or the node to which this address, its own or that " +
        "of a workload, belongs.",
    }),
  },
  manual: {
    exitStatuses: [
      ["0", "Success; no step is wrong."],
      ["1", "No node has the subnet or address, a step is wrong, or a daemon does not answer."],
      ["2", "An argument is invalid."],
      ["3", "No daemon runs."],
    ],
    examples: [
      ["flanneld peers 10.5.72.9", "Show where packets to this workload go."],
    ],
  },
  read: (options, { target }) => ({ kind: "peers", options: { ...options, target } }),
});

const VERSION: Command<ProgramAction> = command({
  name: "version",
  summary: "Print the version.",
  flags: {
    json: boolean({
      name: "json",
      section: "flanneld version",
      help: "Print one JSON document for a bug report: the version, the commit, and the versions " +
        "of Bun, the kernel, the distribution, libc and libnl.",
    }),
  },
  read: ({ json }) => ({ kind: "version", json }),
});

const SUBCOMMANDS = [
  mapAction<LabAction, ProgramAction>(LAB, (action) => ({ kind: "lab", action })),
  mapAction<DatastoreAction, ProgramAction>(DATASTORE, (action) => ({ kind: "datastore", action })),
  mapAction<LeasesAction, ProgramAction>(LEASES, (action) => ({ kind: "leases", action })),
  mapAction<ConfigAction, ProgramAction>(CONFIG, (action) => ({ kind: "config", action })),
  CNI,
  INSTALL_CNI,
  STATUS,
  PEERS,
  LICENSES,
  VERSION,
];

const HELP: Command<ProgramAction> = command({
  name: "help",
  summary: "Print the usage of this program or of a subcommand.",
  arguments: {
    names: repeatedArgument({
      metavar: "SUBCOMMAND",
      help: "The subcommand, such as: lab down.",
      completion: SUBCOMMANDS.map(({ name }) => name),
    }),
  },
  read: (_options, { names }) => ({ kind: "help", names }),
});

export const FLANNELD: Command<ProgramAction> = {
  ...mapAction<DaemonAction | VersionAction, ProgramAction>(DAEMON, (action) => action),
  commands: [...SUBCOMMANDS, HELP],
};

/** The program of Go flannel's image, for the init containers of manifests written for it. */
export const INSTALL_CONF: Command<ProgramAction> = command({
  name: "install-conf",
  summary: "Copy a file atomically.",
  description: ["Copies a file with its mode. The target is replaced atomically."],
  arguments: {
    source: argument({ metavar: "SOURCE", help: "The file to copy.", completion: "file" }),
    target: argument({ metavar: "TARGET", help: "Where to copy it.", completion: "file" }),
  },
  read: (_options, { source, target }) => ({ kind: "install-conf", source, target }),
});
