/**
 * The daemon's status socket: opened when the node is ready, or after two seconds of a start that
 * takes longer, so that it costs the start nothing. The daemon works without it.
 */

import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { statusSocketPath } from "../control/status_path.ts";
import type { Log } from "../log/log.ts";
import type { DaemonPorts } from "./daemon_ports.ts";
import type { StatusFacts } from "./status_facts.ts";

export interface StatusServiceOptions {
  readonly facts: StatusFacts;
  readonly open: DaemonPorts["serveStatus"];
  readonly clock: Clock;
  readonly log: Log;
}

const OPEN_AFTER_MS = 2000;
/** The previous daemon may still be ending. */
const RETRY_MS = 10_000;

export class StatusService implements Disposable {
  readonly #options: StatusServiceOptions;
  readonly #path: string;
  #timer: Disposable | undefined;
  #server: Disposable | undefined;
  #problem: string | undefined;
  #isOpening = false;
  #isStopped = false;

  constructor(options: StatusServiceOptions) {
    this.#options = options;
    this.#path = statusSocketPath(options.facts.options.subnetFile);
    this.#openAfter(OPEN_AFTER_MS);
  }

  /** Opens the socket, unless it is open. Returns at once; never throws. */
  open(): void {
    if (!this.#isStopped && this.#server === undefined && !this.#isOpening) void this.#open();
  }

  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#timer?.[Symbol.dispose]();
    this.#server?.[Symbol.dispose]();
  }

  #openAfter(delayMs: number): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#options.clock.setTimer(delayMs, () => this.open());
  }

  async #open(): Promise<void> {
    const { facts, open, clock, log } = this.#options;
    this.#isOpening = true;
    this.#timer?.[Symbol.dispose]();
    try {
      const server = await open({ path: this.#path, facts, clock, log });
      if (this.#isStopped) return server[Symbol.dispose]();
      this.#server = server;
      if (this.#problem !== undefined) log.info(`serving flanneld status at ${this.#path}`);
      this.#problem = undefined;
    } catch (error) {
      const problem = errorMessage(error);
      if (problem !== this.#problem) {
        log.warn(
          `cannot serve flanneld status at ${this.#path}: ${problem}; the network works without it`,
        );
      }
      this.#problem = problem;
      if (!this.#isStopped) this.#openAfter(RETRY_MS);
    } finally {
      this.#isOpening = false;
    }
  }
}
