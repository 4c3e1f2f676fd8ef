/**
 * The udp backend's data path where the kernel has none: a thread that moves packets between the TUN
 * device and a UDP socket. Here is the daemon's side of it; `proxy_worker.ts` is the thread.
 */

import { errnoName } from "../../../ffi/errno.ts";
import { errno, libc } from "../../../ffi/libc.ts";
import { EFD_CLOEXEC, EFD_NONBLOCK } from "../../../ffi/linux.ts";
import { addressOf } from "../../../ffi/memory.ts";
import { type Ipv4, ipv4Number } from "../../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../../addr/prefix.ts";
import type { Lease, LeaseKey } from "../../subnet/lease.ts";
import { backoffMs, systemClock } from "../../base/clock.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import { peerAddress } from "../../overlay/peer_lease.ts";
import type { BackendTarget } from "../../overlay/backend_target.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import type { Subnet } from "./next_hops.ts";
import type { FromProxy, HopChange, ProxySettings, ToProxy } from "./proxy_messages.ts";
import type { UdpProxyOptions } from "./proxy_options.ts";
import { unsentText } from "./unsent.ts";

/** Set by compile.sh, which puts the thread's code beside the program's; absent from source. */
declare const FLANNELD_PROXY_WORKER: string | undefined;

/** How long a thread that broke stays away: longer each time, until one has lasted. */
const RESTART = { firstMs: 1000, maxMs: 60_000 };
const STEADY_MS = 60_000;
/** The thread answers within one batch of packets. */
const STOP_MS = 1000;

export class UdpProxy implements BackendTarget {
  readonly #options: UdpProxyOptions;
  readonly #peers = new Map<LeaseKey, HopChange>();
  #settings: ProxySettings | undefined;
  #thread: Thread | undefined;
  /** Not yet told to the thread. */
  #changes: HopChange[] = [];
  #isComplete = false;
  #problems: readonly string[] = ["the proxy has not started"];
  #restart: ReturnType<typeof setTimeout> | undefined;
  #launchedMs = 0;
  /** Threads in a row that broke soon. */
  #failures = 0;
  #isStopped = false;

  constructor(options: UdpProxyOptions) {
    this.#options = options;
  }

  async start(input: NodeInput, stop: AbortSignal): Promise<void> {
    this.#settings = this.#settingsOf(input);
    const { promise, resolve } = Promise.withResolvers<void>();
    stop.addEventListener("abort", () => resolve(), { once: true });
    this.#launch(resolve);
    await promise;
  }

  externalChanged(input: NodeInput): void {
    this.#settings = this.#settingsOf(input);
    this.#thread?.tell({ kind: "settings", settings: this.#settings });
  }

  put(peer: Lease): void {
    const subnet = peer.subnets[4];
    if (subnet === undefined) return;
    const hop = ipv4Number(peerAddress(peer, 4) as Ipv4);
    const change = { subnet: subnetOf(subnet), hop };
    this.#peers.set(peer.key, change);
    this.#change(change);
  }

  remove(peer: Lease): void {
    const known = this.#peers.get(peer.key);
    this.#peers.delete(peer.key);
    if (known !== undefined) this.#change({ subnet: known.subnet });
  }

  allowSweep(): void {
    this.#flush();
    this.#isComplete = true;
    this.#thread?.tell({ kind: "complete" });
  }

  /** What the thread has been told it does before the next packet. */
  whenSettled(): Promise<void> {
    this.#flush();
    return Promise.resolve();
  }

  problems(): readonly string[] {
    return this.#problems;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#restart);
    await this.#thread?.[Symbol.asyncDispose]();
  }

  /** Starts the thread, or another one after it broke, and tells it all that there is to know. */
  #launch(onState: () => void): void {
    if (this.#settings === undefined) return;
    this.#launchedMs = systemClock.nowMs();
    this.#changes = [];
    this.#thread = new Thread({
      settings: this.#settings,
      listener: (message) => {
        this.#hear(message);
        if (message.kind === "state") onState();
      },
      onBroken: (reason) => {
        onState();
        this.#broke(reason);
      },
    });
    if (this.#peers.size > 0) {
      this.#thread.tell({ kind: "hops", changes: [...this.#peers.values()] });
    }
    if (this.#isComplete) this.#thread.tell({ kind: "complete" });
  }

  #hear(message: FromProxy): void {
    const { log } = this.#options;
    if (message.kind === "unsent") {
      log.warn(unsentText(message, this.#options.port));
      return;
    }
    if (message.kind !== "state") return;
    for (const problem of message.problems) log.warn(problem);
    if (this.#problems.length > 0 && message.problems.length === 0) {
      const { deviceName, port } = this.#options;
      log.info(`the proxy moves packets between ${deviceName} and UDP port ${port}`);
    }
    this.#problems = message.problems;
  }

  #broke(reason: string): void {
    if (this.#isStopped) return;
    this.#problems = ["the proxy's thread has ended; another one will start"];
    this.#options.log.error(`the proxy's thread has ended, another one will start: ${reason}`);
    const now = systemClock.nowMs();
    if (now - this.#launchedMs > STEADY_MS) this.#failures = 0;
    const delayMs = backoffMs(++this.#failures, RESTART, systemClock);
    this.#restart = setTimeout(() => this.#launchAgain(), delayMs);
  }

  #launchAgain(): void {
    try {
      this.#launch(() => {});
    } catch (error) {
      this.#broke((error as Error).message);
    }
  }

  /** Many peers come at once: the thread is woken once for all of them. */
  #change(change: HopChange): void {
    if (this.#changes.length === 0) queueMicrotask(() => this.#flush());
    this.#changes.push(change);
  }

  #flush(): void {
    if (this.#changes.length === 0) return;
    this.#thread?.tell({ kind: "hops", changes: this.#changes });
    this.#changes = [];
  }

  #settingsOf({ own, external }: NodeInput): ProxySettings {
    const { deviceName, port, network } = this.#options;
    const subnet = own.subnets[4];
    if (subnet === undefined) throw new BackendError("this node has no IPv4 subnet");
    return {
      deviceName,
      port,
      network: subnetOf(network),
      localAddress: ipv4Number(external.sourceAddresses[4] as Ipv4),
      nodeAddress: subnetOf(subnet).address,
    };
  }
}

interface ThreadOptions {
  readonly settings: ProxySettings;
  readonly listener: (message: FromProxy) => void;
  readonly onBroken: (reason: string) => void;
}

/** A running worker and the eventfd(2) that wakes it. */
class Thread implements AsyncDisposable {
  readonly #wakeFd = openEventfd();
  readonly #worker = new Worker(workerUrl());
  readonly #stopped = Promise.withResolvers<void>();
  #hasEnded = false;

  /** Throws `BackendError`, as where the process may open no more files. */
  constructor({ settings, listener, onBroken }: ThreadOptions) {
    const broken = (reason: string) => {
      if (!this.#end()) return;
      onBroken(reason);
      this.#stopped.resolve();
    };
    this.#worker.addEventListener("message", ({ data }: MessageEvent<FromProxy>) => {
      if (data.kind === "stopped") this.#stopped.resolve();
      else listener(data);
    });
    this.#worker.addEventListener("error", ({ message }) => broken(message));
    this.#worker.addEventListener("close", () => broken("it stopped by itself"));
    this.tell({ kind: "start", wakeFd: this.#wakeFd, settings });
  }

  tell(message: ToProxy): void {
    if (this.#hasEnded) return;
    this.#worker.postMessage(message);
    libc().write(this.#wakeFd, addressOf(ONE), 8);
  }

  /** The thread closes what it has open; its device stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#hasEnded) return;
    this.tell({ kind: "stop" });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, STOP_MS));
    await Promise.race([this.#stopped.promise, late]);
    clearTimeout(timer);
    this.#end();
  }

  /** Whether it had not ended before. */
  #end(): boolean {
    if (this.#hasEnded) return false;
    this.#hasEnded = true;
    this.#worker.terminate();
    libc().close(this.#wakeFd);
    return true;
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
  return `this process may open no more than ${limit[0]} files; raise the limit, which is ` +
    "LimitNOFILE= in a systemd unit";
}

const EMFILE = 24; // asm-generic/errno-base.h
const RLIMIT_NOFILE = 7; // asm-generic/resource.h
const ONE = BigUint64Array.of(1n);

function workerUrl(): string {
  return typeof FLANNELD_PROXY_WORKER === "string"
    ? FLANNELD_PROXY_WORKER
    : new URL("./proxy_worker.ts", import.meta.url).href;
}

function subnetOf(prefix: Prefix): Subnet {
  return {
    address: ipv4Number(prefixAddress(prefix) as Ipv4),
    length: prefixLength(prefix),
  };
}
