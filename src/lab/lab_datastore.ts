/** This program's datastore in a namespace, in etcd's place. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { familiesOf } from "../addr/family.ts";
import { startDetached } from "../process/detached_process.ts";
import { urlHost } from "./lab_etcd.ts";
import { topologyMark } from "./namespace.ts";
import type { Station } from "./topology.ts";

export interface LabDatastoreOptions {
  /** Starts this program: a program and arguments that stand before the subcommand. */
  readonly command: readonly string[];
  /** A directory of the server's own; holds its data, its configuration and its log. */
  readonly directory: string;
  /** The network's configuration. */
  readonly config: object;
}

export class LabDatastore {
  readonly endpoints: string;
  readonly pid: number;
  readonly #logFile: string;
  #exitCode: number | undefined;

  /** Starts the server; `ready` waits for it. */
  constructor(station: Station, { command, directory, config }: LabDatastoreOptions) {
    const [family] = familiesOf(station.addresses);
    const address = `${urlHost(station.addresses[family ?? 4] as string)}:2379`;
    this.endpoints = `http://${address}`;
    this.#logFile = join(directory, "datastore.log");
    const configFile = join(directory, "net-conf.json");
    writeFileSync(configFile, JSON.stringify(config));
    const flags = [
      `--listen=${address}`,
      "--insecure", // the lab's addresses are those of documentation, and nobody else's
      `--data-dir=${join(directory, "data")}`,
      `--net-config-path=${configFile}`,
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

  /** Waits until it serves; throws with the end of its log when it ends, or after `timeoutMs`. */
  async ready(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!this.#log().includes("] ready; ")) {
      signal.throwIfAborted();
      if (this.#exitCode !== undefined || Date.now() > deadline) {
        throw new Error(
          `the datastore does not serve; its log ends:\n${this.#log().slice(-1_000)}`,
        );
      }
      await Bun.sleep(5);
    }
  }

  #log(): string {
    return existsSync(this.#logFile) ? readFileSync(this.#logFile, "utf8") : "";
  }
}
