/** The subcommands, with one sentence each for `--help` and the manual. */
export const SUBCOMMANDS = {
  lab: "Build a cluster on this machine, test the connections between its hosts, and remove it.",
  datastore: "Serve the part of etcd's API that flannel uses, for a cluster without etcd.",
  licenses: "Print the licenses of this program and of the software that it contains.",
  version: "Print the version.",
  help: "Print this text.",
} as const;

/** `version` and `help` are the same as the flags of that name. */
export type Subcommand = Exclude<keyof typeof SUBCOMMANDS, "version" | "help">;
