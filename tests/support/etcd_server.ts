/**
 * Real etcd servers on loopback, for tests: one member or a cluster, plain or with TLS; or our own
 * datastore instead, if a test or the environment asks for it.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";

/** Which program serves etcd's API. */
export type ServerKind = "etcd" | "datastore";

/** The default kind; tests/datastore runs tests of etcd with our datastore. */
let defaultKind: ServerKind = "etcd";

export function useServerKind(kind: ServerKind): void {
  defaultKind = kind;
}

export interface EtcdServerOptions {
  readonly kind?: ServerKind;
  /** The executable that runs the datastore; by default it runs from source. */
  readonly executable?: string;
  /** Further flags of etcd, such as `--auth-token-ttl=2`. */
  readonly flags?: readonly string[];
  /** How often a quiet watch gets a progress notification, if it asked for them. */
  readonly watchProgressSeconds?: number;
  /** Added to the server's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Serve clients over TLS. */
  readonly tls?: EtcdServerTls;
  /** Further flags of etcdctl, such as `--insecure-skip-tls-verify`. */
  readonly etcdctlFlags?: readonly string[];
  /** The address that clients connect to. */
  readonly host?: string;
  /** The network namespace (ip-netns(8)) that it runs in; `host` is reachable from the test's. */
  readonly namespace?: string;
  /** The data's directory; by default in memory, and removed with the server. */
  readonly directory?: string;
}

export interface EtcdServerTls {
  readonly certFile: string;
  readonly keyFile: string;
  /** Demand a client certificate signed by this CA. */
  readonly clientCaFile?: string;
  /** The CA, client certificate and key that the test itself uses to call etcd. */
  readonly caFile: string;
  readonly clientCertFile?: string;
  readonly clientKeyFile?: string;
}

/** One server process with its data in memory, removed with it. */
export class EtcdServer implements AsyncDisposable {
  readonly kind: ServerKind;
  /** For clients, such as `http://127.0.0.1:34567`. */
  readonly url: string;
  readonly port: number;
  readonly #options: EtcdServerOptions;
  readonly #flags: readonly string[];
  /** For the log. */
  readonly #directory: string;
  readonly #dataDirectory: string;
  #process: ChildProcess | undefined;

  /** Starts the server and waits until it answers. */
  static async start(options: EtcdServerOptions = {}): Promise<EtcdServer> {
    const [clientPort, peerPort] = await freePorts(2);
    const member = newMember("default", { clientPort, peerPort }, options);
    const isEtcd = (options.kind ?? defaultKind) === "etcd";
    const server = new EtcdServer(
      member,
      isEtcd
        ? [...member.flags, `--initial-cluster=default=${member.peerUrl}`]
        : datastoreFlags(member),
    );
    await server.start();
    return server;
  }

  /** `flags` add the flags of the member's cluster. */
  constructor(member: LabEtcdMember, flags: readonly string[]) {
    this.url = member.url;
    this.port = member.clientPort;
    this.#options = member.options;
    this.kind = member.options.kind ?? defaultKind;
    this.#flags = flags;
    this.#directory = mkdtempSync("/dev/shm/etcd-test-");
    this.#dataDirectory = join(member.options.directory ?? this.#directory, "data");
  }

  /** Starts the process again, with its data, on the same ports. */
  async start(): Promise<void> {
    this.launch();
    await this.ready();
  }

  /** The id of the running process. */
  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error(`${this.kind} does not run`);
    return pid;
  }

  launch(): void {
    const log = openSync(join(this.#directory, "log"), "a");
    const flags = [...this.#flags, `--data-dir=${this.#dataDirectory}`];
    // It ends with us, even if we are killed.
    const { executable, namespace } = this.#options;
    const ours = executable === undefined ? FROM_SOURCE : [executable];
    const program = this.kind === "etcd" ? ["etcd"] : [...ours, "datastore"];
    const inside = namespace === undefined ? [] : ["ip", "netns", "exec", namespace];
    const command = ["--pdeathsig", "KILL", ...inside, ...program, ...flags];
    const env = { ...process.env, ...this.#options.env };
    this.#process = spawn("setpriv", command, { stdio: ["ignore", log, log], env });
    running.add(this.#process);
  }

  /** Waits until etcd answers a read, which needs a leader. */
  async ready(): Promise<void> {
    const deadlineMs = Date.now() + 60_000;
    while (!await this.#answers()) {
      if (this.#process?.exitCode !== null || Date.now() > deadlineMs) {
        throw new Error(
          `${this.kind} does not answer at ${this.url}:\n${this.logText().slice(-3_000)}`,
        );
      }
      await Bun.sleep(20);
    }
  }

  /** Stops the process; the data stays. "SIGKILL": as in a crash. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const process = this.#process;
    if (process === undefined || process.exitCode !== null || process.signalCode !== null) return;
    const exited = new Promise((resolve) => process.once("exit", resolve));
    process.kill(signal);
    await exited;
    running.delete(process);
  }

  /**
   * Suspends the process, like a hung machine: connections stay open, without responses.
   */
  freeze(): void {
    this.#process?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#process?.kill("SIGCONT");
  }

  /** Removes the data: the next start has an empty store. The process has to be stopped. */
  erase(): void {
    rmSync(this.#dataDirectory, { recursive: true, force: true });
  }

  /** Runs etcdctl against this member and returns what it prints. */
  async etcdctl(...args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.#etcdctl(args);
    if (exitCode !== 0) throw new Error(`etcdctl ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** How often the server was called since its start, by gRPC method, such as "Range". */
  async callCounts(): Promise<Map<string, number>> {
    if (this.kind === "datastore") return this.#loggedCalls();
    if (this.#options.tls) throw new Error("call counts are read over plain http");
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text.matchAll(
      /^grpc_server_started_total\{grpc_method="(\w+)",grpc_service="etcdserverpb\..*\} (\d+)$/gm,
    );
    return new Map([...lines].map(([, method = "", count]) => [method, Number(count)]));
  }

  logText(): string {
    return readFileSync(join(this.#directory, "log"), "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.thaw();
    await this.stop("SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #loggedCalls(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const [, method = ""] of this.logText().matchAll(/ call etcdserverpb\.\w+\/(\w+)$/gm)) {
      counts.set(method, (counts.get(method) ?? 0) + 1);
    }
    return counts;
  }

  async #answers(): Promise<boolean> {
    const isListening = await canConnect(this.#options.host ?? "127.0.0.1", this.port);
    // The datastore listens when everything else is done.
    if (!isListening || this.kind === "datastore") return isListening;
    // With authentication enabled, a refusal shows that it runs.
    const { exitCode, stderr } = await this.#etcdctl(["get", "--command-timeout=2s", "health"]);
    return exitCode === 0 || /user name is empty|permission denied/.test(stderr);
  }

  async #etcdctl(args: readonly string[]) {
    const { tls, etcdctlFlags = [] } = this.#options;
    const child = Bun.spawn([
      "etcdctl",
      // With a scheme, etcdctl 3.4 sends a URL where its maintenance calls should send a host, and
      // Bun's HTTP/2 refuses that.
      `--endpoints=${this.kind === "etcd" ? this.url : this.url.replace(/^https?:\/\//, "")}`,
      ...(tls ? [`--cacert=${tls.caFile}`] : []),
      ...(tls?.clientCertFile ? [`--cert=${tls.clientCertFile}`] : []),
      ...(tls?.clientKeyFile ? [`--key=${tls.clientKeyFile}`] : []),
      ...etcdctlFlags,
      ...args,
    ], { stdout: "pipe", stderr: "pipe", env: { ...process.env, ETCDCTL_API: "3" } });
    const [stdout, stderr, exitCode] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { stdout, stderr, exitCode };
  }
}

/** A cluster whose members are all up. */
export class EtcdCluster implements AsyncDisposable {
  readonly members: readonly EtcdServer[];

  static async start(size: number, options: EtcdServerOptions = {}): Promise<EtcdCluster> {
    const ports = await freePorts(2 * size);
    const members = Array.from({ length: size }, (_, index) => {
      const [clientPort = 0, peerPort = 0] = ports.slice(2 * index);
      return newMember(`m${index}`, { clientPort, peerPort }, options);
    });
    const cluster = members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
    const servers = members.map((member) =>
      new EtcdServer(member, [...member.flags, `--initial-cluster=${cluster}`])
    );
    for (const server of servers) server.launch();
    await Promise.all(servers.map((server) => server.ready()));
    return new EtcdCluster(servers);
  }

  constructor(members: readonly EtcdServer[]) {
    this.members = members;
  }

  get urls(): string[] {
    return this.members.map(({ url }) => url);
  }

  /** The member that leads the others at the moment. */
  async leader(): Promise<EtcdServer> {
    const deadlineMs = Date.now() + 60_000;
    while (Date.now() < deadlineMs) {
      for (const member of this.members) {
        const text = await member.etcdctl("endpoint", "status").catch(() => "");
        if (text.split(", ")[4] === "true") return member;
      }
    }
    throw new Error("the etcd cluster has no leader");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member[Symbol.asyncDispose]()));
  }
}

interface LabEtcdMember {
  readonly name: string;
  readonly url: string;
  readonly peerUrl: string;
  readonly clientPort: number;
  readonly flags: readonly string[];
  readonly options: EtcdServerOptions;
}

function newMember(
  name: string,
  { clientPort, peerPort }: { clientPort: number; peerPort: number },
  options: EtcdServerOptions,
): LabEtcdMember {
  const { tls, host = "127.0.0.1", flags = [], watchProgressSeconds } = options;
  const url = `${tls ? "https" : "http"}://${host}:${clientPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  return {
    name,
    url,
    peerUrl,
    clientPort,
    options,
    flags: [
      `--name=${name}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      ...(tls ? [`--cert-file=${tls.certFile}`, `--key-file=${tls.keyFile}`] : []),
      ...(tls?.clientCaFile ? ["--client-cert-auth", `--trusted-ca-file=${tls.clientCaFile}`] : []),
      ...(watchProgressSeconds === undefined
        ? []
        : [`--experimental-watch-progress-notify-interval=${watchProgressSeconds}s`]),
      ...flags,
    ],
  };
}

const FROM_SOURCE = [process.execPath, join(import.meta.dir, "../../src/main.ts")];

/** An etcd member's options that the datastore has as well. */
function datastoreFlags({ options, clientPort }: LabEtcdMember): string[] {
  const { tls, host = "127.0.0.1", flags = [], watchProgressSeconds } = options;
  return [
    `--listen=${host}:${clientPort}`,
    ...(tls ? [`--cert-file=${tls.certFile}`, `--key-file=${tls.keyFile}`] : []),
    ...(tls?.clientCaFile ? [`--client-ca-file=${tls.clientCaFile}`] : []),
    ...(options.executable === undefined ? ["-v=4"] : []),
    ...(watchProgressSeconds === undefined
      ? []
      : [`--watch-progress-seconds=${watchProgressSeconds}`]),
    ...flags,
  ];
}

/**
 * Ports without a listener, each used once. They lie below those that the kernel chooses by
 * itself (ip_local_port_range, 32768 and up), so that no other program gets one by chance
 * before its server starts, or while it restarts.
 */
export async function freePorts(count: 2): Promise<[number, number]>;
export async function freePorts(count: number): Promise<number[]>;
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = nextPort++;
    if (nextPort === PORTS.end) nextPort = PORTS.start;
    if (await canListen(port)) ports.push(port);
  }
  return ports;
}

const PORTS = { start: 10_000, end: 32_000 };
/** Processes that share a network begin at different ports. */
let nextPort = PORTS.start + Math.floor(Math.random() * (PORTS.end - PORTS.start));

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port }, () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}

const running = new Set<ChildProcess>();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
