/**
 * Keeps the subnet file up to date: container runtimes wait for it, so a failed write is retried.
 */

import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import type { Log } from "../log/log.ts";
import type { SubnetFile } from "../subnet/subnet_file.ts";
import type { SubnetFilePort } from "./daemon_ports.ts";

export interface SubnetFileWriterOptions {
  readonly path: string;
  /** The content at the time of a write. */
  readonly content: () => SubnetFile;
  readonly file: Pick<SubnetFilePort, "write">;
  readonly clock: Clock;
  readonly log: Log;
}

const RETRY_MS = 5000;

export class SubnetFileWriter implements Disposable {
  readonly #options: SubnetFileWriterOptions;
  readonly #writes = new SerialQueue();
  readonly #written = Promise.withResolvers<void>();
  #problem: string | undefined;
  #timer: Disposable | undefined;
  #isStopped = false;

  constructor(options: SubnetFileWriterOptions) {
    this.#options = options;
  }

  /** Why the file is missing or outdated. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Resolves when the file has been written for the first time. */
  get written(): Promise<void> {
    return this.#written.promise;
  }

  /** Resolves after one attempt; if that fails, it is retried until it succeeds. Never throws. */
  write(): Promise<void> {
    return this.#writes.run(() => this.#writeNow());
  }

  /** Ends the retries and leaves the file. */
  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#timer?.[Symbol.dispose]();
  }

  async #writeNow(): Promise<void> {
    this.#timer?.[Symbol.dispose]();
    const { path, content, file, clock, log } = this.#options;
    try {
      await file.write(path, content());
      if (this.#problem !== undefined) log.info(`wrote the subnet file ${path}`);
      this.#problem = undefined;
      this.#written.resolve();
    } catch (error) {
      const problem = `cannot write the subnet file ${path}: ${errorMessage(error)}`;
      if (problem !== this.#problem) log.error(`${problem}; retrying`);
      this.#problem = problem;
      if (!this.#isStopped) this.#timer = clock.setTimer(RETRY_MS, () => void this.write());
    }
  }
}
