/** Keeps a connection to a charon: connects again, or starts a new charon, when it is lost. */

import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { Log } from "../../log/log.ts";
import { type Charon, type CharonOptions, connectCharon, releaseCharon } from "./charon.ts";
import { CharonError } from "./charon_error.ts";
import type { Vici } from "./vici.ts";

export interface CharonLinkOptions {
  readonly charon: CharonOptions;
  /** The first one to use. */
  readonly first: Charon;
  readonly clock: Clock;
  readonly log: Log;
  /** Uses a connection until it is closed. */
  readonly serve: (vici: Vici) => Promise<void>;
  /** An attempt to connect has failed; `problem` says why. */
  readonly onUnavailable: () => void;
}

export class CharonLink implements AsyncDisposable {
  readonly #options: CharonLinkOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #problem: string | undefined;

  constructor(options: CharonLinkOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run(this.#options.first);
  }

  /** Why there is no connection at present. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** charon keeps running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(first: Charon): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    let failures = 0;
    let charon: Charon | undefined = first;
    while (!signal.aborted) {
      if (charon !== undefined) {
        const startMs = clock.nowMs();
        await this.#use(charon);
        charon = undefined;
        if (signal.aborted) return;
        this.#problem = "the connection to charon is lost; its tunnels stay until they expire";
        log.warn(this.#problem);
        if (clock.nowMs() - startMs > STEADY_MS) failures = 0;
      }
      await sleep(clock, backoffMs(++failures, BACKOFF, clock), signal);
      if (!signal.aborted) charon = await this.#connectAgain();
    }
    if (charon !== undefined) releaseCharon(charon);
  }

  async #connectAgain(): Promise<Charon | undefined> {
    const { charon: options, log, onUnavailable } = this.#options;
    try {
      const charon = await connectCharon(options, this.#stop.signal);
      log.info(`using ${charon.description}`);
      this.#problem = undefined;
      return charon;
    } catch (error) {
      const reason = errorMessage(error);
      if (reason !== this.#problem) log.warn(reason);
      this.#problem = reason;
      onUnavailable();
      return undefined;
    }
  }

  /**
   * Uses a connection until it ends. A charon of flanneld that does not respond is killed: it would
   * block a new one.
   */
  async #use(charon: Charon): Promise<void> {
    const { serve, log } = this.#options;
    const { signal } = this.#stop;
    using vici = charon.vici;
    const hangUp = () => vici[Symbol.dispose]();
    signal.addEventListener("abort", hangUp);
    if (signal.aborted) hangUp();
    try {
      await serve(vici);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof CharonError) log.warn(error.message);
      // Nothing that charon or a lease contains may end the process or the other tunnels.
      else {
        const stack = error instanceof Error ? error.stack?.slice(0, 2000) : undefined;
        log.error({ stack }, `cannot configure charon's tunnels: ${errorMessage(error)}`);
      }
    } finally {
      signal.removeEventListener("abort", hangUp);
      if (!signal.aborted) charon.kill?.();
    }
  }
}

const BACKOFF = { firstMs: 500, maxMs: 30_000 };
/** A charon that has run for this long did not fail for a permanent reason. */
const STEADY_MS = 60_000;
