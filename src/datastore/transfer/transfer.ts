/** What export, import and migrate consist of, in one module that is loaded on demand. */

export { readDump } from "./dump.ts";
export { dumpText, parseDump } from "./dump_text.ts";
export { migrate } from "./migrate.ts";
export { RemoteEtcd, type RemoteEtcdOptions } from "./remote_etcd.ts";
export { restoreDump } from "./restore.ts";
