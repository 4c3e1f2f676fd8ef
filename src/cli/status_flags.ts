/** The flags of `flanneld status` and `flanneld peers`. */

import { boolean, file, type FlagTable } from "./flag.ts";

const STATUS = "flanneld status";

export const STATUS_FLAGS = {
  json: boolean({
    name: "json",
    section: STATUS,
    help: "Print JSON: an array with the document of each daemon, as docs/api.md describes it.",
  }),
  watch: boolean({
    name: "watch",
    section: STATUS,
    help: "Show it again every second, until interrupted.",
  }),
  subnetFile: file({
    name: "subnet-file",
    section: STATUS,
    help:
      "Show only the daemon that has this --subnet-file. By default, all those in /run/flannel.",
  }),
} as const satisfies FlagTable;

const PEERS = "flanneld peers";

export const PEERS_FLAGS = {
  json: boolean({
    name: "json",
    section: PEERS,
    help: "Print JSON: an array with a document for each node, as docs/api.md describes it.",
  }),
  subnetFile: file({
    name: "subnet-file",
    section: PEERS,
    help: "Ask only the daemon that has this --subnet-file. By default, all those in /run/flannel.",
  }),
} as const satisfies FlagTable;
