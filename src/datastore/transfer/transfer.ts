/** What the command line needs of this folder, loaded at once. */

export { readDump } from "./dump.ts";
export { dumpText, parseDump } from "./dump_text.ts";
export { migrate } from "./migrate.ts";
export { RemoteEtcd } from "./remote_etcd.ts";
export { restoreDump } from "./restore.ts";
