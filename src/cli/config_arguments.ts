/** `flanneld config` and its subcommands: what they are, and how they are read. Pure. */

import { argument, optionalArgument } from "./argument.ts";
import { type Command, command } from "./command.ts";
import { DAEMON_FLAGS } from "./daemon_flags.ts";
import { boolean, type OptionsOf, pickFlags } from "./flag.ts";
import { readStoreOptions, STORE_FLAGS, type StoreOptions } from "./store_flags.ts";
import { STORE_MANUAL } from "./store_manual.ts";

export type ConfigAction =
  | {
    readonly kind: "show";
    readonly store: StoreOptions;
    readonly choice: InterfaceOptions;
  }
  | {
    readonly kind: "check";
    readonly store: StoreOptions;
    /** `-` is standard input; `undefined`: what the store has. */
    readonly file: string | undefined;
  }
  | {
    readonly kind: "set";
    readonly store: StoreOptions;
    readonly file: string;
    readonly force: boolean;
  };

/** The daemon's flags that choose the external interface. */
const INTERFACE_FLAGS = pickFlags(DAEMON_FLAGS, [
  "interfaces",
  "interfacePatterns",
  "interfaceCanReach",
  "publicIp",
  "publicIpv6",
]);

export type InterfaceOptions = OptionsOf<typeof INTERFACE_FLAGS>;

const FILE_HELP = "The file with the configuration, or - for standard input.";

const SHOW: Command<ConfigAction> = command({
  name: "show",
  summary: "Print the network configuration with all defaults.",
  description: [
    "Prints the configuration of the store as JSON, with the defaults of all keys that it does " +
    "not have, and without secrets. How many subnets there are, how many of them are taken, and " +
    "the MTU of workloads on this host are printed to standard error.",
  ],
  flags: { ...STORE_FLAGS, ...INTERFACE_FLAGS },
  read: (options) => ({ kind: "show", store: readStoreOptions(options), choice: options }),
});

const CHECK: Command<ConfigAction> = command({
  name: "check",
  summary: "Report every mistake in a network configuration.",
  description: [
    "Prints each mistake with its line and column, and exits with status 1 if there is one. With " +
    "an error, no daemon can use the configuration; a warning is probably a mistake, such as an " +
    "unknown key. Without a file, the configuration of the store is checked.",
  ],
  flags: STORE_FLAGS,
  arguments: {
    file: optionalArgument({ metavar: "FILE", help: FILE_HELP, completion: "file" }),
  },
  read: (options, { file }) => ({ kind: "check", store: readStoreOptions(options), file }),
});

const SET: Command<ConfigAction> = command({
  name: "set",
  summary: "Check a network configuration and write it to the store.",
  description: [
    "Prints what changes, and for which nodes. A configuration with errors is refused. Without " +
    "--force, so is one with warnings, or one with which a node would lose its subnet or could " +
    "not start. Running daemons keep the previous configuration until they are restarted.",
  ],
  flags: {
    force: boolean({
      name: "force",
      section: "flanneld config set",
      help: "Write it even if there are warnings or nodes lose their subnets.",
    }),
    ...STORE_FLAGS,
  },
  arguments: { file: argument({ metavar: "FILE", help: FILE_HELP, completion: "file" }) },
  read: (options, { file }) => ({
    kind: "set",
    store: readStoreOptions(options),
    file,
    force: options.force,
  }),
});

export const CONFIG: Command<ConfigAction> = command({
  name: "config",
  summary: "Show, check and change the network configuration.",
  description: [
    "Uses the store that the flags name, without a daemon. On a machine that has joined a " +
    "datastore, no flag is needed.",
  ],
  commands: [SHOW, CHECK, SET],
  manual: {
    ...STORE_MANUAL,
    exitStatuses: [
      ["0", "Success; there is no mistake."],
      ["1", "There is a mistake, the store cannot be read or changed, or the change is refused."],
      ...STORE_MANUAL.exitStatuses,
    ],
    examples: [
      ["flanneld config show", "Print the configuration with all defaults."],
      ["flanneld config check net-conf.json", "Report every mistake in a file."],
      ["flanneld config set net-conf.json", "Write it to the store."],
    ],
  },
});
