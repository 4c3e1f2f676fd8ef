/**
 * An etcd server in a namespace, and the few calls that a lab makes to it.
 *
 * In addition to its address in the namespace, the server listens on a Unix socket in the
 * topology's directory, which can be reached from the machine's own namespace. The calls go there,
 * through etcd's JSON gateway, without the start of a program.
 */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { topologyMark } from "./namespace.ts";
import { poll } from "./poll.ts";
import type { Station } from "./topology.ts";
import { entriesOf } from "../addr/family.ts";
import { urlHost } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import { type DetachedProcess, startDetached } from "../process/detached_process.ts";

export interface LabEtcdOptions {
  /** For its data, its socket and its log. */
  readonly directory: string;
  /** By default `etcd` on PATH. */
  readonly executable?: string;
  /** Further arguments, such as those for TLS. */
  readonly args?: readonly string[];
  /** `https` if `args` enable TLS. */
  readonly scheme?: "http" | "https";
  /** The server's place in a cluster of several; alone by default. */
  readonly member?: LabEtcdMember;
  readonly clock: Clock;
}

/** Members share a namespace and differ in ports. */
export interface LabEtcdMember {
  readonly name: string;
  readonly clientPort: number;
  readonly peerPort: number;
  /** `name=URL` of every member, as `--initial-cluster` takes it. */
  readonly cluster: string;
}

const ALONE: LabEtcdMember = {
  name: "default",
  clientPort: 2379,
  peerPort: 2380,
  cluster: "default=http://127.0.0.1:2380",
};

/** For a machine on which many programs start. */
const CALL_TIMEOUT_MS = 30_000;

/** A key as etcd's JSON gateway reports it, decoded. */
export interface EtcdKey {
  readonly key: string;
  readonly value: string;
  /** Attached lease, "0" for none. */
  readonly lease: string;
  readonly modRevision: string;
}

export class LabEtcd {
  readonly endpoints: string;
  #process: DetachedProcess;
  #token: string | undefined;
  readonly #socket: string;
  readonly #clock: Clock;
  readonly #start: () => DetachedProcess;

  /** Starts the server; `ready` waits for it. */
  constructor(station: Station, options: LabEtcdOptions) {
    const { scheme = "http", member = ALONE, executable = "etcd" } = options;
    const urls = entriesOf(station.addresses).map(([, address]) =>
      `${scheme}://${urlHost(address)}:${member.clientPort}`
    );
    this.endpoints = urls[0] as string;
    this.#clock = options.clock;
    this.#socket = join(options.directory, "api:0");
    const args = etcdArguments({
      urls,
      member,
      directory: options.directory,
      args: options.args ?? [],
    });
    this.#start = () => {
      rmSync(this.#socket, { force: true }); // of a server that was killed
      return startDetached("ip", ["netns", "exec", station.namespace, executable, ...args], {
        logFile: join(options.directory, "etcd.log"),
        env: { PATH: process.env["PATH"] ?? "", ...topologyMark(station.namespace) },
        workingDirectory: options.directory,
      });
    };
    this.#process = this.#start();
  }

  get pid(): number {
    return this.#process.pid;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal);
  }

  /** Ends the server at once, as a crash does. */
  async kill(): Promise<void> {
    this.#process.signal("SIGKILL");
    await this.#process.exited;
  }

  /** Ends the server in order: its database file then has everything. */
  async stop(): Promise<void> {
    this.#process.signal("SIGTERM");
    await this.#process.exited;
  }

  /** Starts the server again with the same data. */
  restart(): void {
    this.#process = this.#start();
  }

  /** Waits until the server is healthy; throws after `timeoutMs`. */
  async ready(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    let cause: unknown;
    const isHealthy = async () => {
      try {
        const health = await this.#fetch("/health", undefined);
        return (health as { health?: unknown }).health === "true";
      } catch (error) {
        cause = error;
        return false;
      }
    };
    const options = { clock: this.#clock, intervalMs: 20, timeoutMs, signal };
    if (await poll(isHealthy, options)) return;
    throw new Error(`etcd is not healthy after ${timeoutMs / 1000} s`, { cause });
  }

  async put(key: string, value: string, lease = "0"): Promise<void> {
    await this.call("kv/put", { key: encode(key), value: encode(value), lease });
  }

  async delete(key: string): Promise<void> {
    await this.call("kv/deleterange", { key: encode(key) });
  }

  /** The keys that start with `prefix`, in order. */
  async list(prefix: string): Promise<EtcdKey[]> {
    const response = await this.call("kv/range", {
      key: encode(prefix),
      range_end: encode(
        prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1),
      ),
    }) as { kvs?: { key: string; value?: string; lease?: string; mod_revision: string }[] };
    return (response.kvs ?? []).map((pair) => ({
      key: decode(pair.key),
      value: decode(pair.value ?? ""),
      lease: pair.lease ?? "0",
      modRevision: pair.mod_revision,
    }));
  }

  /** Sends every later call in the name of this user. */
  async authenticate(name: string, password: string): Promise<void> {
    this.#token = undefined; // an expired token is rejected even here
    const response = await this.call("auth/authenticate", { name, password });
    this.#token = (response as { token: string }).token;
  }

  /** Any call of the JSON gateway, such as `kv/compaction`; throws with etcd's message. */
  call(method: string, body: object): Promise<unknown> {
    return this.#fetch(`/v3/${method}`, JSON.stringify(body));
  }

  async #fetch(path: string, body: string | undefined): Promise<unknown> {
    const timeout = AbortSignal.timeout(CALL_TIMEOUT_MS);
    const response = await fetch(`http://etcd${path}`, {
      unix: this.#socket,
      signal: timeout,
      ...(this.#token === undefined ? {} : { headers: { Authorization: this.#token } }),
      ...(body === undefined ? {} : { method: "POST", body }),
    }).catch((cause) => {
      const failure = timeout.aborted
        ? `no response within ${CALL_TIMEOUT_MS / 1000} s`
        : (cause as Error).message;
      throw new Error(`cannot call etcd's ${path}: ${failure}`, { cause });
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`etcd rejected ${path}: ${text.trim()}`);
    return JSON.parse(text);
  }
}

function etcdArguments(
  server: {
    urls: readonly string[];
    member: LabEtcdMember;
    directory: string;
    args: readonly string[];
  },
): string[] {
  const peerUrl = `http://127.0.0.1:${server.member.peerPort}`;
  // A relative path and a port that is not used: etcd 3.4 insists on host:port in every URL.
  return [
    "--name",
    server.member.name,
    "--data-dir",
    join(server.directory, "data"),
    "--listen-client-urls",
    [...server.urls, "unix://api:0"].join(","),
    "--advertise-client-urls",
    server.urls.join(","),
    "--listen-peer-urls",
    peerUrl,
    "--initial-advertise-peer-urls",
    peerUrl,
    "--initial-cluster",
    server.member.cluster,
    "--logger",
    "zap",
    "--log-level",
    "warn",
    ...server.args,
  ];
}

function encode(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}

function decode(text: string): string {
  return new TextDecoder().decode(Uint8Array.fromBase64(text));
}
