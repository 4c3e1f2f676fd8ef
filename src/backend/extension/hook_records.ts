/**
 * What has been done on this host by commands, written down so that the next run of the daemon does
 * not do it again: one small file for the node's set-up and one for each peer, each replaced as a
 * whole.
 *
 * What commands make, devices and routes, is gone after a reboot, and is not to be seen from another
 * network namespace. So each record names the boot and the namespace that it is about; one of others
 * is dropped. Nothing needs to be flushed to disk: a crash of the machine is a reboot.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readRegularText, replaceFile } from "../../base/regular_file.ts";
import type { LeaseKey } from "../../subnet/lease.ts";
import { type HookInput, type HookVariables, readInput, readVariables } from "./hook_input.ts";

/** The node's own set-up: PreStartupCommand, the lease, PostStartupCommand. */
export interface SetupRecord {
  /** Unique to this set-up: peers that were added to another must be added anew. */
  readonly generation: string;
  /** Both commands have run. */
  readonly isComplete: boolean;
  /** Mark of the command that is running, if it is not complete. */
  readonly mark: string;
  /** The commands that made it. */
  readonly commands: readonly string[];
  /** What PostStartupCommand was told. */
  readonly variables: HookVariables;
  /** What PreStartupCommand printed. */
  readonly output: string;
}

export interface PeerRecord {
  readonly key: LeaseKey;
  readonly generation: string;
  /** SubnetAddCommand has succeeded, and nothing has been begun since. */
  readonly isCertain: boolean;
  /** Mark of the command that is running, if it is not certain. */
  readonly mark: string;
  /** The SubnetAddCommand that was used. */
  readonly command: string;
  readonly input: HookInput;
}

export interface HookRecordsOptions {
  readonly directory: string;
  /** Tells this boot of this network namespace from every other; see `bootIdentity`. */
  readonly boot: string;
  /** Gets one line for each record that cannot be read, and when none can be written. */
  readonly warn: (message: string) => void;
}

const SETUP_FILE = "setup.json";
const PEERS = "peers";
const SUFFIX = ".json";

export class HookRecords {
  /** As read by `open`; what is written later is not reflected. */
  readonly setup: SetupRecord | undefined;
  /** As read by `open`. */
  readonly peers: readonly PeerRecord[];
  readonly #options: HookRecordsOptions;
  #problem: string | undefined;

  /** Reads what earlier runs wrote down. Never throws: what cannot be read is reported. */
  static async open(options: HookRecordsOptions): Promise<HookRecords> {
    const setup = await readRecord(join(options.directory, SETUP_FILE), options, parseSetup);
    const peers: PeerRecord[] = [];
    for (const name of await list(join(options.directory, PEERS), options)) {
      const path = join(options.directory, PEERS, name);
      if (!name.endsWith(SUFFIX)) {
        await rm(path, { force: true }).catch(() => undefined); // Left by a run that was killed.
        continue;
      }
      const record = await readRecord(path, options, parsePeer);
      if (record === undefined) continue;
      if (fileOf(record.key) === name) peers.push(record);
      else options.warn(`${path} is about ${record.key}; it is ignored`);
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

  /** The marks of commands that an earlier run did not see the end of. */
  get unfinished(): ReadonlySet<string> {
    const marks = this.peers.filter(({ isCertain }) => !isCertain).map(({ mark }) => mark);
    if (this.setup?.isComplete === false) marks.push(this.setup.mark);
    return new Set(marks);
  }

  /** Why the last record could not be written; the commands run all the same. */
  get problem(): string | undefined {
    return this.#problem;
  }

  async writeSetup(record: SetupRecord): Promise<void> {
    await this.#write(SETUP_FILE, record);
  }

  async deleteSetup(): Promise<void> {
    await this.#delete(SETUP_FILE);
  }

  /** Calls for one peer must not overlap. */
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
      this.#problem = `cannot write ${path}: ${(error as Error).message}; after a restart, ` +
        "commands may run twice";
      if (before === undefined) this.#options.warn(this.#problem);
    }
  }
}

/**
 * Tells one boot of the machine, and one network namespace, from others. Where it cannot be read, it
 * is like no other: then nothing is known of earlier runs.
 */
export function bootIdentity(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(); // random(4)
    return `${boot} ${readlinkSync("/proc/self/ns/net")}`;
  } catch {
    return crypto.randomUUID();
  }
}

/** A key names addresses, but nothing in a lease may choose a path. */
function fileOf(key: LeaseKey): string {
  return `${encodeURIComponent(key)}${SUFFIX}`;
}

async function list(directory: string, { warn }: HookRecordsOptions): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") warn(`cannot read ${directory}: ${message}; it is ignored`);
    return [];
  }
}

/** A record contains the output of a command, and a lease. */
const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/** `undefined` for one that is not there, is of another boot, or is broken, which is reported. */
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
    if (code !== "ENOENT") warn(`cannot read ${path}: ${message}; it is ignored`);
    return undefined;
  }
  if (typeof fields !== "object" || fields === null) {
    warn(`${path} is not an object; it is ignored`);
    return undefined;
  }
  const record = fields as Readonly<Record<string, unknown>>;
  if (typeof record["boot"] === "string" && record["boot"] !== boot) {
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }
  const parsed = record["boot"] === boot ? parse(record) : undefined;
  if (parsed === undefined) warn(`${path} is not as this program writes it; it is ignored`);
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
