/** The flags of `flanneld status` and `flanneld peers`. */

import { boolean, file, type FlagTable } from "./flag.ts";

const STATUS = "flanneld status";

export const STATUS_FLAGS = {
  json: boolean({
    name: "json",
    section: STATUS,
    help: "Print a JSON array with the document of each daemon, which docs/api.md describes.",
  }),
  watch: boolean({
    name: "watch",
    section: STATUS,
    help: "Show the state again every second, until interrupted.",
  }),
  subnetFile: file({
    name: "subnet-file",
    section: STATUS,
    help:
      "Show only the daemon that has this --subnet-file. The default is all those in /run/flannel.",
  }),
} as const satisfies FlagTable;

const PEERS = "flanneld peers";

export const PEERS_FLAGS = {
  json: boolean({
    name: "json",
    section: PEERS,
    help: "Print a JSON array with a document for each node, which docs/api.md describes.",
  }),
  subnetFile: file({
    name: "subnet-file",
    section: PEERS,
    help:
      "Ask only the daemon that has this --subnet-file. The default is all those in /run/flannel.",
  }),
} as const satisfies FlagTable;
