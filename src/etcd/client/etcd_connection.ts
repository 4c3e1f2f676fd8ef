/**
 * The connection to one etcd member: an HTTP/2 session, opened when needed and monitored by
 * PINGs.
 */

import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { unlessAborted } from "../../base/abort.ts";
import type { Clock } from "../../base/clock.ts";
import type { EtcdEndpoint } from "./endpoint.ts";
import { type CallFailure, NO_CONNECTION, NO_ROUTE } from "./call_failure.ts";
import { EtcdError } from "./etcd_error.ts";
import { type EgressRoute, type HostNetwork, isSameRoute } from "./host_network.ts";
import { GrpcTransport, type Transport } from "./grpc_transport.ts";
import { SessionManager } from "./http2_session.ts";
import type { ConnectionTiming } from "./monitored_session.ts";
import type { TlsFiles, TlsMaterial } from "../../base/tls_files.ts";
import { probeEndpoint } from "./endpoint_probe.ts";

const PROBE_TIMEOUT_MS = 1_000;
const PROBE_AGAIN_MS = 60_000;

export class EtcdConnection implements Disposable {
  readonly endpoint: EtcdEndpoint;
  /** At least one call succeeded: the endpoint is an etcd. */
  hasResponded = false;
  readonly #tlsFiles: TlsFiles;
  readonly #timing: ConnectionTiming;
  readonly #clock: Clock;
  #material: TlsMaterial | undefined;
  #session: Http2Session | undefined;
  /** Sessions with older certificates: their streams continue, but new calls do not use them. */
  readonly #retired = new Set<SessionManager>();
  readonly #host: HostNetwork | undefined;
  #probed: { readonly atMs: number; readonly finding: Promise<string | undefined> } | undefined;
  /** The member's address: that of the endpoint, or of the last connection if it is a name. */
  #remote: IpAddress | undefined;
  /** The route to it when it was last connected to. */
  #route: Promise<EgressRoute | undefined> | undefined;

  constructor(
    endpoint: EtcdEndpoint,
    options: {
      readonly tlsFiles: TlsFiles;
      readonly timing: ConnectionTiming;
      readonly clock: Clock;
      readonly host?: HostNetwork | undefined;
    },
  ) {
    this.endpoint = endpoint;
    this.#host = options.host;
    this.#remote = parseIpAddress(endpoint.host);
    this.#tlsFiles = options.tlsFiles;
    this.#timing = options.timing;
    this.#clock = options.clock;
  }

  /** When it was connected, in milliseconds since 1970; `undefined` if it is not connected. */
  get connectedSinceMs(): number | undefined {
    return this.#session?.manager.connectedSinceMs;
  }

  /**
   * A transport with an open session. Throws `EtcdError` of the kind "unsent" if it cannot be
   * opened in time, and the signal's reason if the signal aborts.
   */
  async open(signal: AbortSignal, timeoutMs: number): Promise<Transport> {
    let deadline: AbortSignal | undefined;
    try {
      const { manager, transport } = this.#currentSession();
      signal.throwIfAborted();
      // No timer, which would outlive the call.
      if (manager.readySession !== undefined) return transport;
      deadline = AbortSignal.timeout(timeoutMs);
      if (!manager.isConnected && manager.state !== "connecting") this.#noteRoute();
      await unlessAborted(manager.ready(), AbortSignal.any([signal, deadline]));
      return transport;
    } catch (error) {
      signal.throwIfAborted();
      if (deadline?.aborted) throw this.#giveUp(error);
      // Also an `EtcdError` of another kind, with which the connection was aborted meanwhile.
      const failure = EtcdError.from(error, { endpoint: this.endpoint, kind: "unsent" })
        .as("unsent");
      throw await this.#hasNoRoute(failure)
        ? failure.because(`${NO_ROUTE} ${this.#remote}`, "no route")
        : failure;
    }
  }

  /**
   * This host's addresses or routes may have changed: closes sessions that can no longer work.
   * Returns whether anything about this connection has changed, so another attempt may succeed.
   */
  async networkChanged(addresses: ReadonlySet<IpAddress>): Promise<boolean> {
    const ends = this.#managers().map(({ ends }) => ends);
    const known = ends.find((one) => one !== undefined)?.remote;
    if (known !== undefined && known !== this.#remote) {
      this.#remote = known;
      this.#noteRoute();
    }
    const before = await this.#route;
    const now = this.#remote && await this.#host?.egressRoute(this.#remote);
    const hasMoved = !isSameRoute(before, now);
    if (hasMoved) this.#route = Promise.resolve(now);
    let dropped = false;
    for (const manager of this.#managers()) {
      const reason = manager.state === "connecting"
        ? hasMoved && "the network changed while connecting"
        : whyDead(manager, { addresses, before, now });
      if (!reason) continue;
      manager.abort(this.#failure({ kind: "interrupted", reason }));
      dropped = true;
    }
    return hasMoved || dropped;
  }

  /**
   * The program at the endpoint, if it is not etcd and can be identified. Asks once a minute at
   * most.
   */
  async probe(signal: AbortSignal): Promise<string | undefined> {
    const nowMs = this.#clock.nowMs();
    if (this.#probed === undefined || nowMs - this.#probed.atMs > PROBE_AGAIN_MS) {
      this.#probed = { atMs: nowMs, finding: this.#probe().catch(() => undefined) };
    }
    return await unlessAborted(this.#probed.finding, signal);
  }

  async #probe(): Promise<string | undefined> {
    const material = this.endpoint.secure ? this.#tlsFiles.current() : undefined;
    const options = { material, timeoutMs: PROBE_TIMEOUT_MS, clock: this.#clock };
    return await probeEndpoint(this.endpoint, options);
  }

  /** Closes the sessions with all their streams. */
  [Symbol.dispose](): void {
    for (const manager of this.#managers()) manager.abort();
    this.#retired.clear();
  }

  #managers(): SessionManager[] {
    return [...(this.#session === undefined ? [] : [this.#session.manager]), ...this.#retired];
  }

  /** A failure is ignored: without the route, PINGs still detect a dead connection. */
  #noteRoute(): void {
    this.#route = this.#remote && this.#host?.egressRoute(this.#remote).catch(() => undefined);
  }

  /** The runtime reports a missing route as a refused connection. */
  async #hasNoRoute({ symptom }: EtcdError): Promise<boolean> {
    if (symptom !== "refused" || !this.#remote || !this.#host) return false;
    return await this.#host.egressRoute(this.#remote).then((route) => !route, () => false);
  }

  /** Without this, a connection attempt without a response would continue for minutes. */
  #giveUp(cause: unknown): EtcdError {
    const symptom = "no connection";
    const failure = this.#failure({ kind: "unsent", reason: NO_CONNECTION, symptom }, cause);
    const manager = this.#session?.manager;
    if (manager?.state === "connecting") manager.abort(failure);
    return failure;
  }

  #failure(failure: CallFailure, cause?: unknown): EtcdError {
    const endpoint = this.endpoint.url;
    return new EtcdError(`${failure.reason} (${endpoint})`, { ...failure, endpoint, cause });
  }

  #currentSession(): Http2Session {
    const material = this.endpoint.secure ? this.#tlsFiles.current() : undefined;
    if (this.#session !== undefined && material === this.#material) return this.#session;
    this.#retireSession();
    this.#material = material;
    const options = { material, timing: this.#timing, clock: this.#clock };
    const manager = new SessionManager(this.endpoint, options);
    this.#session = { manager, transport: new GrpcTransport(manager) };
    return this.#session;
  }

  #retireSession(): void {
    for (const manager of this.#retired) {
      if (manager.state !== "open") this.#retired.delete(manager);
    }
    if (this.#session !== undefined) this.#retired.add(this.#session.manager);
  }
}

interface Http2Session {
  readonly manager: SessionManager;
  readonly transport: Transport;
}

/** Why a connection can no longer work; `undefined` if it may. */
function whyDead(
  { ends }: SessionManager,
  { addresses, before, now }: {
    readonly addresses: ReadonlySet<IpAddress>;
    readonly before: EgressRoute | undefined;
    readonly now: EgressRoute | undefined;
  },
): string | undefined {
  if (ends === undefined) return undefined;
  const { local, remote } = ends;
  if (!addresses.has(local)) return `this host no longer has the connection's address ${local}`;
  if (before === undefined || isSameRoute(before, now)) return undefined;
  if (now === undefined) return `there is no longer a route to ${remote}`;
  if (before.source === now.source) return undefined;
  return `the source address of packets to ${remote} changed from ${before.source} to ` +
    `${now.source}`;
}
