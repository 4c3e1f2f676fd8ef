/** `flanneld datastore`: serves etcd's API; export, import, migrate. See docs/datastore.md. */

import { DatastoreError } from "../datastore/mvcc/datastore_error.ts";
import { assertNever } from "../base/assert_never.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import { createLogger } from "../log/logger.ts";
import { printableLine } from "../base/quoting.ts";
import { type DatastoreCommand, parseDatastoreCommand } from "./datastore_arguments.ts";
import { DATASTORE_FLAGS } from "./datastore_flags.ts";
import { flagLines } from "./flag_help.ts";

/** Where the command reads and writes: data by `input` and `out`, progress and errors to `err`. */
export interface DatastoreStreams {
  readonly input: () => Promise<string>;
  out(text: string): Promise<void>;
  err(text: string): void;
}

const HELP = `Usage: flanneld datastore [FLAG]...
       flanneld datastore export [--etcd-endpoints URLS] > FILE
       flanneld datastore import [--etcd-endpoints URLS] [--overwrite] < FILE
       flanneld datastore migrate --to URLS [--etcd-endpoints URLS] [--overwrite]

Serves the part of etcd's v3 API that flannel uses, so that a small cluster needs no etcd. The data
is on one machine: use it for labs, for development, and for clusters that need no changes while
that machine is down.

export writes all keys, with the remaining time of their leases. import reads them back. migrate
copies them to another store while both are in use. All three work with any etcd.
${flagLines(DATASTORE_FLAGS).join("\n")}

The flags of export, import and migrate have environment variables (all but --to), such as
FLANNELD_ETCD_PASSWORD and FLANNELD_TO_PASSWORD.
`;

/** Runs the subcommand with the arguments that follow `datastore` and returns the exit status. */
export async function datastoreCommand(
  args: readonly string[],
  streams: DatastoreStreams,
): Promise<number> {
  const command = parseDatastoreCommand(args, process.env);
  if (command.kind === "help") {
    await streams.out(HELP);
    return 0;
  }
  if (command.kind === "error") {
    streams.err(`flanneld datastore: ${printableLine(command.message)}\n`);
    return 2;
  }
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => stop.abort(new Error(`stopped by ${name}`));
  for (const name of SIGNALS) process.on(name, onSignal);
  try {
    await perform(command, streams, stop.signal);
    return 0;
  } catch (error) {
    if (stop.signal.aborted && error === stop.signal.reason) return 130;
    if (!(error instanceof OperatorError)) throw error;
    streams.err(`flanneld datastore: ${printableLine(error.message)}\n`);
    return 1;
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

type Action = Exclude<DatastoreCommand, { kind: "help" | "error" }>;

async function perform(
  command: Action,
  streams: DatastoreStreams,
  signal: AbortSignal,
): Promise<void> {
  const context = { clock: systemClock, signal };
  switch (command.kind) {
    case "serve": {
      const { serveDatastore } = await import("../datastore/serve.ts");
      const log = createLogger({ format: command.logFormat, verbosity: command.verbosity });
      return await serveDatastore(command.options, { log, clock: systemClock, stop: signal });
    }
    case "export":
      return await exportKeys(command, streams, context);
    case "import":
      return await importKeys(command, streams, context);
    case "migrate":
      return await migrateKeys(command, streams, context);
    default:
      return assertNever(command);
  }
}

interface Context {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

async function exportKeys(
  command: Extract<Action, { kind: "export" }>,
  streams: DatastoreStreams,
  context: Context,
): Promise<void> {
  const { RemoteEtcd, readDump, dumpText } = await import("../datastore/transfer/transfer.ts");
  using from = new RemoteEtcd(command.from, context);
  const damaged: string[] = [];
  const dump = await readDump(from, {
    onDamaged: (key) => damaged.push(JSON.stringify(new TextDecoder().decode(key))),
  });
  await streams.out(dumpText(dump));
  printProgress(streams, `exported ${dump.entries.length} keys; leases: ${dump.leases.length}`);
  if (damaged.length === 0) return;
  throw new DatastoreError(
    `the export omits ${damaged.length} keys that are damaged in ${from.endpoints}: ` +
      `${damaged.join(", ")}; it is complete otherwise and can be imported`,
  );
}

async function importKeys(
  command: Extract<Action, { kind: "import" }>,
  streams: DatastoreStreams,
  context: Context,
): Promise<void> {
  const { RemoteEtcd, parseDump, restoreDump } = await import("../datastore/transfer/transfer.ts");
  const dump = parseDump(await streams.input());
  using to = new RemoteEtcd(command.to, context);
  const { written, present } = await restoreDump(to, dump, command);
  printProgress(streams, `imported ${written} keys; ${present} were already present`);
}

async function migrateKeys(
  command: Extract<Action, { kind: "migrate" }>,
  streams: DatastoreStreams,
  context: Context,
): Promise<void> {
  const { RemoteEtcd, migrate } = await import("../datastore/transfer/transfer.ts");
  using from = new RemoteEtcd(command.from, context);
  using to = new RemoteEtcd(command.to, context);
  const report = (line: string) => printProgress(streams, line);
  await migrate(from, to, { overwrite: command.overwrite, report });
  report("restart the daemons one by one with the following flag; each keeps its subnet:");
  await streams.out(`--etcd-endpoints=${to.endpoints}\n`);
}

function printProgress(streams: DatastoreStreams, line: string): void {
  streams.err(`${printableLine(line)}\n`);
}
