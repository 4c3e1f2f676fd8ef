/**
 * The network configuration in a file, as the ConfigMap `kube-flannel-cfg` is mounted.
 *
 * The kubelet never changes a file of a mounted ConfigMap: it writes all of them to a new
 * directory and moves the symbolic link `..data`, by which they are reached, to that. A file that
 * an administrator maintains may be replaced or rewritten.
 */

import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname } from "node:path";
import { type Clock, sleep } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { readRegularText } from "../../base/regular_file.ts";
import type { Log } from "../../log/log.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import { type LeaseStore, StoreError } from "../lease_store.ts";

export interface NetConfigFileOptions {
  /** `--net-config-path` */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Kubernetes allows 1 MiB for a ConfigMap. */
const MAX_BYTES = 1024 * 1024;
/** The file is read this often without a notification, too: one may be lost, or impossible. */
const CHECK_MS = 10_000;
/** A change causes several notifications, and a file that is rewritten is empty for a moment. */
const QUIET_MS = 200;

export class NetConfigFile implements Pick<LeaseStore, "networkConfig" | "watchNetworkConfig"> {
  readonly #options: NetConfigFileOptions;
  /** The text that was returned last; `watchNetworkConfig` yields what differs from it. */
  #lastText: string | undefined;

  constructor(options: NetConfigFileOptions) {
    this.#options = options;
  }

  /** Throws `StoreError` if the file is missing or cannot be read. */
  networkConfig(): Promise<string> {
    return Promise.try(() => {
      const { path } = this.#options;
      try {
        return this.#lastText = readRegularText(path, MAX_BYTES);
      } catch (cause) {
        throw new StoreError(`failed to read net conf: ${reasonOf(cause, path)}`, { cause });
      }
    });
  }

  /** A file that cannot be read counts as unchanged, and the reason is logged. */
  async *watchNetworkConfig(signal: AbortSignal): AsyncGenerator<string | undefined> {
    const { path, clock, log } = this.#options;
    const reading = new RepeatedFailure({ what: "watching the network configuration", log, clock });
    using directory = new DirectoryWatch(dirname(path));
    while (!signal.aborted) {
      try {
        const text = readIfExists(path);
        reading.succeeded();
        if (text !== this.#lastText) yield this.#lastText = text;
      } catch (cause) {
        reading.failed(`failed to read net conf: ${reasonOf(cause, path)}`);
      }
      await directory.nextOccasion(clock, signal);
    }
  }
}

/** `undefined` if there is no such file. */
function readIfExists(path: string): string | undefined {
  try {
    return readRegularText(path, MAX_BYTES);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** With the words of Go flannel, for which its users search. */
function reasonOf(cause: unknown, path: string): string {
  return (cause as NodeJS.ErrnoException).code === "ENOENT"
    ? `open ${path}: no such file or directory; mount the ConfigMap with the network ` +
      "configuration there, or name another file with --net-config-path"
    : errorMessage(cause);
}

/** Notices changes in a directory, which may be missing or replaced. */
class DirectoryWatch implements Disposable {
  readonly #path: string;
  #watcher: FSWatcher | undefined;
  /** Identifies the directory that is watched. */
  #inode: number | undefined;
  /** Aborted by the next change. */
  #changed = new AbortController();

  constructor(path: string) {
    this.#path = path;
    this.#open();
  }

  /** Resolves when something may have changed; at the latest after a while, or at the abort. */
  async nextOccasion(clock: Clock, signal: AbortSignal): Promise<void> {
    await sleep(clock, CHECK_MS, AbortSignal.any([signal, this.#changed.signal]));
    this.#open();
    if (!this.#changed.signal.aborted) return;
    this.#changed = new AbortController();
    await sleep(clock, QUIET_MS, signal);
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** Watches the directory that has the path now. Without one, only time brings an occasion. */
  #open(): void {
    try {
      const { ino } = statSync(this.#path);
      if (this.#watcher !== undefined && ino === this.#inode) return;
      this[Symbol.dispose]();
      const watcher = watch(this.#path, { persistent: false }, () => this.#changed.abort());
      watcher.on("error", () => {
        if (watcher === this.#watcher) this[Symbol.dispose]();
      });
      this.#watcher = watcher;
      this.#inode = ino;
    } catch {
      this[Symbol.dispose]();
    }
  }
}
