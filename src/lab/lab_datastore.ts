/** `flanneld datastore` in a namespace, instead of an etcd. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { familiesOf } from "../addr/family.ts";
import { urlHost } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import { startDetached } from "../process/detached_process.ts";
import { poll } from "./poll.ts";
import { topologyMark } from "./namespace.ts";
import type { Station } from "./topology.ts";

export interface LabDatastoreOptions {
  /** The command that starts flanneld, without the subcommand. */
  readonly command: readonly string[];
  /** For its data, its configuration and its log. */
  readonly directory: string;
  /** The network's configuration; absent: none is written. */
  readonly config?: object;
  readonly clock: Clock;
}

export class LabDatastore {
  readonly endpoints: string;
  readonly pid: number;
  readonly #logFile: string;
  readonly #clock: Clock;
  #exitCode: number | undefined;

  /** Starts the server; `ready` waits for it. */
  constructor(station: Station, { command, directory, config, clock }: LabDatastoreOptions) {
    const [family] = familiesOf(station.addresses);
    const address = `${urlHost(station.addresses[family ?? 4] as string)}:2379`;
    this.endpoints = `http://${address}`;
    this.#clock = clock;
    this.#logFile = join(directory, "datastore.log");
    const flags = [
      `--listen=${address}`,
      "--insecure", // documentation addresses, in a namespace without a way out
      `--data-dir=${join(directory, "data")}`,
      ...(config === undefined ? [] : [`--net-config-path=${writeConfig(directory, config)}`]),
    ];
    const args = ["netns", "exec", station.namespace, ...command, "datastore", ...flags];
    const process = startDetached("ip", args, {
      logFile: this.#logFile,
      env: { PATH: globalThis.process.env["PATH"] ?? "", ...topologyMark(station.namespace) },
      workingDirectory: directory,
    });
    this.pid = process.pid;
    void process.exited.then((code) => this.#exitCode = code);
  }

  /** Waits until it serves; throws with the end of its log if it exits, or after `timeoutMs`. */
  async ready(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const isReady = () => this.#log().includes("] ready; ");
    const isDone = () => this.#exitCode !== undefined || isReady();
    await poll(isDone, { clock: this.#clock, intervalMs: 5, timeoutMs, signal });
    if (isReady()) return;
    throw new Error(`the datastore did not start; end of its log:\n${this.#log().slice(-1_000)}`);
  }

  #log(): string {
    return existsSync(this.#logFile) ? readFileSync(this.#logFile, "utf8") : "";
  }
}

/** The path of a file with the configuration. */
function writeConfig(directory: string, config: object): string {
  const path = join(directory, "net-conf.json");
  writeFileSync(path, JSON.stringify(config));
  return path;
}
