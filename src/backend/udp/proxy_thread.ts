/**
 * The proxy's thread, seen from the daemon: a worker, and the eventfd(2) that wakes it from
 * poll(2).
 */

import { errnoName } from "../../../ffi/errno.ts";
import { errno, libc } from "../../../ffi/libc.ts";
import { EFD_CLOEXEC, EFD_NONBLOCK } from "../../../ffi/linux.ts";
import { addressOf } from "../../../ffi/memory.ts";
import type { Clock } from "../../base/clock.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import type { ProxyCommand, ProxyEvent, ProxySettings } from "./proxy_messages.ts";

/** Set by compile.sh, which puts the thread's code next to the program's; undefined from source. */
declare const FLANNELD_PROXY_WORKER: string | undefined;

/** The thread responds within one batch of packets. */
const STOP_MS = 1000;

export interface ProxyThreadOptions {
  readonly settings: ProxySettings;
  readonly clock: Clock;
  readonly onEvent: (event: Exclude<ProxyEvent, { kind: "stopped" }>) => void;
  /** The thread has ended by itself. */
  readonly onEnd: (reason: string) => void;
}

export class ProxyThread implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #wakeFd = openEventfd();
  readonly #worker = new Worker(workerUrl());
  readonly #stopped = Promise.withResolvers<void>();
  #hasEnded = false;

  /** Throws `BackendError`, for example if the process may not open more files. */
  constructor({ settings, clock, onEvent, onEnd }: ProxyThreadOptions) {
    this.#clock = clock;
    const ended = (reason: string) => {
      if (this.#hasEnded) return;
      this.#end();
      onEnd(reason);
      this.#stopped.resolve();
    };
    this.#worker.addEventListener("message", ({ data }: MessageEvent<ProxyEvent>) => {
      if (data.kind === "stopped") this.#stopped.resolve();
      else onEvent(data);
    });
    this.#worker.addEventListener("error", ({ message }) => ended(message));
    this.#worker.addEventListener("close", () => ended("it stopped by itself"));
    this.send({ kind: "start", wakeFd: this.#wakeFd, settings });
  }

  send(command: ProxyCommand): void {
    if (this.#hasEnded) return;
    this.#worker.postMessage(command);
    libc().write(this.#wakeFd, addressOf(ONE), 8);
  }

  /** The thread closes its descriptors; the device stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#hasEnded) return;
    this.send({ kind: "stop" });
    {
      using _limit = this.#clock.setTimer(STOP_MS, this.#stopped.resolve);
      await this.#stopped.promise;
    }
    if (!this.#hasEnded) this.#end();
  }

  #end(): void {
    this.#hasEnded = true;
    this.#worker.terminate();
    libc().close(this.#wakeFd);
  }
}

function openEventfd(): number {
  const fd = libc().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd >= 0) return fd;
  const reason = errno();
  const why = reason === EMFILE ? noMoreFiles() : `eventfd failed with ${errnoName(reason)}`;
  throw new BackendError(`cannot start the proxy: ${why}`);
}

function noMoreFiles(): string {
  const limit = new BigUint64Array(2); // struct rlimit: the soft limit, the hard one
  libc().getrlimit(RLIMIT_NOFILE, addressOf(limit));
  return `this process may not open more than ${
    limit[0]
  } files; raise the limit (LimitNOFILE= in ` +
    "its systemd unit)";
}

const EMFILE = 24; // asm-generic/errno-base.h
const RLIMIT_NOFILE = 7; // asm-generic/resource.h
const ONE = BigUint64Array.of(1n);

function workerUrl(): string {
  return typeof FLANNELD_PROXY_WORKER === "string"
    ? FLANNELD_PROXY_WORKER
    : new URL("./proxy_worker.ts", import.meta.url).href;
}
