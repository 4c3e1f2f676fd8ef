/** What the manual says about commands that use the store, besides their flags. */

import type { CommandManual } from "./command.ts";

export const STORE_MANUAL = {
  files: [
    ["/var/lib/flannel/joined.json", "What this node has learned when it joined a datastore."],
  ],
  signals: [
    ["SIGINT, SIGTERM", "End the command. A change that it has sent may have been made."],
  ],
  exitStatuses: [
    ["2", "The command line or an environment variable is invalid."],
    ["130", "It was interrupted."],
    ["141", "The program that reads the output has ended (SIGPIPE)."],
  ],
} as const satisfies CommandManual;
