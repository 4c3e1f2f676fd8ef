/** `flanneld datastore`: serves etcd's API; export, import, migrate. See docs/datastore.md. */

import { DatastoreError } from "../datastore/mvcc/datastore_error.ts";
import { assertNever } from "../base/assert_never.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { createLogger } from "../log/logger.ts";
import { printableLine } from "../base/quoting.ts";
import type { DatastoreAction } from "./datastore_arguments.ts";
import { runInterruptible } from "./interruptible_command.ts";

/** Where the command reads and writes: data by `input` and `out`, progress and errors to `err`. */
export interface DatastoreStreams {
  readonly input: () => Promise<string>;
  out(text: string): Promise<void>;
  err(text: string): void;
  /** Whether `err` is the terminal of an operator. */
  readonly isTerminal: boolean;
}

/** Runs the subcommand and returns the exit status. */
export function datastoreCommand(
  action: DatastoreAction,
  streams: DatastoreStreams,
): Promise<number> {
  return runInterruptible({
    name: "flanneld datastore",
    err: (text) => streams.err(text),
    async perform(signal) {
      await perform(action, streams, signal);
      return 0;
    },
  });
}

async function perform(
  action: DatastoreAction,
  streams: DatastoreStreams,
  signal: AbortSignal,
): Promise<void> {
  const context = { clock: systemClock, signal };
  switch (action.kind) {
    case "serve": {
      const { serveDatastore } = await import("../datastore/serve.ts");
      const log = createLogger({ format: action.logFormat, verbosity: action.verbosity });
      const terminal = streams.isTerminal ? streams.err : undefined;
      const context = { log, clock: systemClock, stop: signal, terminal };
      return await serveDatastore(action.options, context);
    }
    case "export":
      return await exportKeys(action, streams, context);
    case "import":
      return await importKeys(action, streams, context);
    case "migrate":
      return await migrateKeys(action, streams, context);
    case "prepare-token": {
      const { preparedSettings } = await import("./prepare_command.ts");
      const { out, note } = preparedSettings(action.address);
      await streams.out(out);
      return streams.err(note);
    }
    case "access": {
      const { performAccess } = await import("./access_command.ts");
      const { out, note } = await performAccess(action.directory, action.action);
      await streams.out(out);
      return streams.err(note);
    }
    default:
      return assertNever(action);
  }
}

interface Context {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

async function exportKeys(
  command: Extract<DatastoreAction, { kind: "export" }>,
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
  command: Extract<DatastoreAction, { kind: "import" }>,
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
  command: Extract<DatastoreAction, { kind: "migrate" }>,
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
