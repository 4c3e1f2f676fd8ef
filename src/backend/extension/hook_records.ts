/**
 * Records of what commands have done on this host, for the next run of the daemon: one small file
 * for the setup of the node and one for each peer, each replaced as a whole.
 *
 * The devices and routes that commands create do not survive a reboot, and exist in one network
 * namespace only. So each record names its boot and its namespace, and is dropped in any other.
 * Records are not flushed to disk, because a crash of the machine is a reboot.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "../../base/operator_error.ts";
import { readRegularText, replaceFile } from "../../base/regular_file.ts";
import type { LeaseKey } from "../../subnet/lease.ts";
import { type HookInput, type HookVariables, readInput, readVariables } from "./hook_input.ts";

/** The setup of the node itself: PreStartupCommand, the lease, PostStartupCommand. */
export interface SetupRecord {
  /** Unique to this setup: peers that were added to another one have to be added again. */
  readonly generation: string;
  /** Both commands have run. */
  readonly isComplete: boolean;
  /** Mark of the running command, unless `isComplete`. */
  readonly mark: string;
  /** The commands of this setup. */
  readonly commands: readonly string[];
  /** The variables of PostStartupCommand. */
  readonly variables: HookVariables;
  /** What PreStartupCommand printed. */
  readonly output: string;
}

export interface PeerRecord {
  readonly key: LeaseKey;
  readonly generation: string;
  /** SubnetAddCommand has succeeded, and no command has started since. */
  readonly isCertain: boolean;
  /** Mark of the running command, unless `isCertain`. */
  readonly mark: string;
  /** The SubnetAddCommand that ran. */
  readonly command: string;
  readonly input: HookInput;
}

export interface HookRecordsOptions {
  readonly directory: string;
  /** Identifies this boot and this network namespace; see `bootIdentity`. */
  readonly boot: string;
  /** Called with one line for each record that cannot be read, and when none can be written. */
  readonly warn: (message: string) => void;
}

const SETUP_FILE = "setup.json";
const PEERS = "peers";
const SUFFIX = ".json";

export class HookRecords {
  /** As `open` has read it, without later changes. */
  readonly setup: SetupRecord | undefined;
  /** As `open` has read them, without later changes. */
  readonly peers: readonly PeerRecord[];
  readonly #options: HookRecordsOptions;
  #problem: string | undefined;

  /** Reads the records of earlier runs. Never throws: unreadable records are reported. */
  static async open(options: HookRecordsOptions): Promise<HookRecords> {
    const setup = await readRecord(join(options.directory, SETUP_FILE), options, parseSetup);
    const peers: PeerRecord[] = [];
    for (const name of await list(join(options.directory, PEERS), options)) {
      const path = join(options.directory, PEERS, name);
      if (!name.endsWith(SUFFIX)) {
        // A temporary file of a run that was killed.
        await rm(path, { force: true }).catch(() => undefined);
        continue;
      }
      const record = await readRecord(path, options, parsePeer);
      if (record === undefined) continue;
      if (fileOf(record.key) === name) peers.push(record);
      else options.warn(`ignoring ${path}: it is the record of ${record.key}`);
    }
    return new HookRecords(options, { setup, peers });
  }

  private constructor(
    options: HookRecordsOptions,
    { setup, peers }: { setup: SetupRecord | undefined; peers: readonly PeerRecord[] },
  ) {
    this.#options = options;
    this.setup = setup;
    this.peers = peers;
  }

  /** The marks of commands that were running when an earlier run ended. */
  get unfinished(): ReadonlySet<string> {
    const marks = this.peers.filter(({ isCertain }) => !isCertain).map(({ mark }) => mark);
    if (this.setup?.isComplete === false) marks.push(this.setup.mark);
    return new Set(marks);
  }

  /** Why the last record could not be written; that does not prevent commands from running. */
  get problem(): string | undefined {
    return this.#problem;
  }

  async writeSetup(record: SetupRecord): Promise<void> {
    await this.#write(SETUP_FILE, record);
  }

  async deleteSetup(): Promise<void> {
    await this.#delete(SETUP_FILE);
  }

  /** Calls for one peer may not overlap. */
  async writePeer(record: PeerRecord): Promise<void> {
    await this.#write(join(PEERS, fileOf(record.key)), record);
  }

  async deletePeer(key: LeaseKey): Promise<void> {
    await this.#delete(join(PEERS, fileOf(key)));
  }

  async #write(name: string, record: object): Promise<void> {
    const { directory, boot } = this.#options;
    const path = join(directory, name);
    await this.#attempt(path, async () => {
      await mkdir(join(directory, PEERS), { recursive: true, mode: 0o700 });
      await replaceFile(path, JSON.stringify({ boot, ...record }), { mode: 0o600, flush: false });
    });
  }

  async #delete(name: string): Promise<void> {
    const path = join(this.#options.directory, name);
    await this.#attempt(path, () => rm(path, { force: true }));
  }

  async #attempt(path: string, change: () => Promise<void>): Promise<void> {
    try {
      await change();
      this.#problem = undefined;
    } catch (error) {
      const before = this.#problem;
      this.#problem = `cannot write ${path}: ${errorMessage(error)}; after a restart, ` +
        "commands may run again";
      if (before === undefined) this.#options.warn(this.#problem);
    }
  }
}

/**
 * Identifies this boot of the machine and this network namespace. If they cannot be read, the
 * result is unique, and all records of earlier runs are dropped.
 */
export function bootIdentity(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(); // random(4)
    return `${boot} ${readlinkSync("/proc/self/ns/net")}`;
  } catch {
    return crypto.randomUUID();
  }
}

/** Encoded, because the key comes from a lease and may not choose a path. */
function fileOf(key: LeaseKey): string {
  return `${encodeURIComponent(key)}${SUFFIX}`;
}

async function list(directory: string, { warn }: HookRecordsOptions): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") warn(`ignoring ${directory}: cannot read it: ${message}`);
    return [];
  }
}

/** A record contains the output of a command, and data of a lease. */
const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/** `undefined` if the record is missing, of another boot, or invalid, which is reported. */
async function readRecord<T>(
  path: string,
  { boot, warn }: HookRecordsOptions,
  parse: (fields: Readonly<Record<string, unknown>>) => T | undefined,
): Promise<T | undefined> {
  let fields: unknown;
  try {
    fields = JSON.parse(readRegularText(path, MAX_RECORD_BYTES));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") warn(`ignoring ${path}: cannot read it: ${message}`);
    return undefined;
  }
  if (typeof fields !== "object" || fields === null) {
    warn(`ignoring ${path}: it is not a JSON object`);
    return undefined;
  }
  const record = fields as Readonly<Record<string, unknown>>;
  if (typeof record["boot"] === "string" && record["boot"] !== boot) {
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }
  const parsed = record["boot"] === boot ? parse(record) : undefined;
  if (parsed === undefined) warn(`ignoring ${path}: it is not a valid record`);
  return parsed;
}

/** Reads a record's fields; `undefined` if one of them is invalid. */
export function parseSetup(fields: Readonly<Record<string, unknown>>): SetupRecord | undefined {
  const { generation, isComplete, mark, commands, output } = fields;
  const variables = readVariables(fields["variables"]);
  if (typeof generation !== "string" || typeof mark !== "string" || typeof output !== "string") {
    return undefined;
  }
  if (typeof isComplete !== "boolean" || variables === undefined) return undefined;
  if (!Array.isArray(commands) || !commands.every((item) => typeof item === "string")) {
    return undefined;
  }
  return { generation, isComplete, mark, commands, variables, output };
}

/** See `parseSetup`. */
export function parsePeer(fields: Readonly<Record<string, unknown>>): PeerRecord | undefined {
  const { key, generation, isCertain, mark, command } = fields;
  const input = readInput(fields["input"]);
  if (typeof key !== "string" || typeof generation !== "string" || typeof mark !== "string") {
    return undefined;
  }
  if (typeof isCertain !== "boolean" || typeof command !== "string" || input === undefined) {
    return undefined;
  }
  return { key: key as LeaseKey, generation, isCertain, mark, command, input };
}
