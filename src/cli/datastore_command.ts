/** `flanneld datastore`: etcd's API from one file, and the ways in and out. See docs/datastore.md. */

import { DatastoreError } from "../datastore/mvcc/datastore_error.ts";
import { OperatorError } from "../base/operator_error.ts";
import { createLogger } from "../log/logger.ts";
import { printableLine } from "../base/quoting.ts";
import { type DatastoreCommand, parseDatastoreCommand } from "./datastore_flags.ts";

/** Where the command reads and writes: data by `input` and `out`, progress and faults to `err`. */
export interface DatastoreStreams {
  readonly input: () => Promise<string>;
  out(text: string): Promise<void>;
  err(text: string): void;
}

const USAGE = `Usage: flanneld datastore [FLAG]...
       flanneld datastore export [--etcd-endpoints URL] > FILE
       flanneld datastore import [--etcd-endpoints URL] [--overwrite] < FILE
       flanneld datastore migrate --to URL [--etcd-endpoints URL] [--overwrite]

Serves the part of etcd's v3 API that flannel uses, so that a first cluster needs no etcd. Its data
is on one machine: for labs, development, and small clusters that do not change while it is down.

  --listen ADDRESS:PORT  where clients connect (default 127.0.0.1:2379)
  --data-dir DIRECTORY   where the data is (default /var/lib/flannel/datastore)
  --cert-file FILE       serve TLS with this certificate
  --key-file FILE        and its key
  --client-ca-file FILE  admit only clients with a certificate signed by this one
  --insecure             serve a public address without TLS
  --network CIDR         write the network's configuration if there is none; two networks, IPv4
                         and IPv6, are separated by a comma
  --backend TYPE         the backend in that configuration (default vxlan)
  --net-config-path FILE write this configuration if there is none
  --etcd-prefix PREFIX   where that configuration is (default /coreos.com/network)
  --watch-progress-seconds N
                         how often a quiet watch hears how far it is (default 600)
  --log-format FORMAT    text or json (default text)
  -v N                   how much is logged, 0 to 10 (default 0)

export writes all keys and the time that their leases have left, import reads them back, migrate
copies them to an etcd cluster while everything runs. They work with every etcd:

  --etcd-endpoints URL   the store to read, or for import to write (default http://127.0.0.1:2379);
                         also --etcd-cafile, --etcd-certfile, --etcd-keyfile, --etcd-username,
                         --etcd-password
  --to URL               where migrate writes; also --to-cafile, --to-certfile, --to-keyfile,
                         --to-username, --to-password
                         (in the environment: FLANNELD_ETCD_PASSWORD, FLANNELD_TO_PASSWORD, …)
  --overwrite            replace keys that are there with other values; migrate asks for it only where
                         both stores have changed
`;

/** Runs the subcommand with the arguments that follow `datastore` and returns the exit code. */
export async function datastoreCommand(
  args: readonly string[],
  streams: DatastoreStreams,
): Promise<number> {
  const command = parseDatastoreCommand(args, process.env);
  if (command.kind === "help") {
    await streams.out(USAGE);
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
  const report = (line: string) => streams.err(`${printableLine(line)}\n`);
  switch (command.kind) {
    case "serve": {
      const { serveDatastore } = await import("../datastore/serve.ts");
      const log = createLogger({ format: command.logFormat, verbosity: command.verbosity });
      return await serveDatastore(command.options, { log, stop: signal });
    }
    case "export": {
      const { RemoteEtcd, readDump, dumpText } = await import("../datastore/transfer/transfer.ts");
      using from = new RemoteEtcd(command.from, signal);
      const damaged: string[] = [];
      const dump = await readDump(from, {
        onDamaged: (key) => damaged.push(JSON.stringify(new TextDecoder().decode(key))),
      });
      await streams.out(dumpText(dump));
      report(`exported ${dump.entries.length} keys; leases: ${dump.leases.length}`);
      if (damaged.length === 0) return;
      throw new DatastoreError(
        `the export lacks ${damaged.length} keys that are damaged in ${from.endpoints}: ` +
          `${damaged.join(", ")}; everything else is in it and can be imported`,
      );
    }
    case "import": {
      const { RemoteEtcd, parseDump, restoreDump } = await import(
        "../datastore/transfer/transfer.ts"
      );
      const dump = parseDump(await streams.input());
      using to = new RemoteEtcd(command.to, signal);
      const { written, present } = await restoreDump(to, dump, command);
      return report(`imported ${written} keys; ${present} were there already`);
    }
    case "migrate": {
      const { RemoteEtcd, migrate } = await import("../datastore/transfer/transfer.ts");
      using from = new RemoteEtcd(command.from, signal);
      using to = new RemoteEtcd(command.to, signal);
      await migrate(from, to, { overwrite: command.overwrite, report });
      report("now restart the daemons one by one with this flag; each keeps its subnet:");
      return await streams.out(`--etcd-endpoints=${to.endpoints}\n`);
    }
  }
}
