/**
 * Keeps charon's connections as the leases ask: one for each peer, with its pre-shared key. A charon
 * that ends is replaced and told everything again; a connection that somebody removes comes back,
 * and so does a tunnel that somebody deletes from the kernel without charon knowing.
 */

import type { Prefix } from "../../addr/prefix.ts";
import type { Log } from "../../log/log.ts";
import type { XfrmStateEnds, XfrmStates } from "../../kernel/xfrm/xfrm_states.ts";
import type { Lease, LeaseKey } from "../../subnet/lease.ts";
import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { BackendTarget } from "../../overlay/backend_target.ts";
import { type Charon, type CharonOptions, giveUpCharon, reachCharon } from "./charon.ts";
import type { CharonConnection } from "./charon_connection.ts";
import type { EspCheck } from "./esp_check.ts";
import { type CharonConnections, IkeSession } from "./ike_session.ts";
import { TunnelWatch } from "./tunnel_watch.ts";
import { ViciError } from "./vici.ts";

export interface CharonTargetOptions {
  readonly charon: CharonOptions;
  /** Keeps other daemons from using this charon; released at the end. */
  readonly claim: Disposable;
  /** Whether tunnels are possible at all. */
  readonly esp: EspCheck;
  /** The one to begin with. */
  readonly first: Charon;
  readonly network: Prefix;
  /** Where charon puts its tunnels; disposed at the end. */
  readonly states: XfrmStates;
  /** The tunnel to a peer whose lease makes sense. */
  readonly connection: (peer: Lease, input: NodeInput) => CharonConnection;
  readonly clock: Clock;
  readonly log: Log;
}

export class CharonTarget implements BackendTarget {
  readonly #options: CharonTargetOptions;
  readonly #tunnels: TunnelWatch;
  readonly #peers = new Map<LeaseKey, Lease>();
  #wanted = new Map<LeaseKey, CharonConnection>();
  #input: NodeInput | undefined;
  #maySweep = false;
  #session: IkeSession | undefined;
  #running: Promise<void> | undefined;
  #stateWatch: Disposable | undefined;
  readonly #stop = new AbortController();
  /** Why there is no charon at present. */
  #problem: string | undefined;
  /** Counts what was asked for; `#done` is how far charon has been told, or cannot be. */
  #asked = 0;
  #done = 0;
  /** When to look at tunnels, and from when on at all of them. */
  #lookAtMs = -Infinity;
  #listAtMs = -Infinity;
  /** When to ask charon what it has been told. */
  #verifyAtMs = -Infinity;
  #wake = Promise.withResolvers<void>();
  #settled = Promise.withResolvers<void>();

  constructor(options: CharonTargetOptions) {
    this.#options = options;
    this.#tunnels = new TunnelWatch(options);
  }

  start(input: NodeInput): Promise<void> {
    this.#input = input;
    return Promise.try(() => {
      this.#stateWatch = this.#options.states.watch((ends) => this.#stateGone(ends));
      this.#running = this.#run(this.#options.first);
    });
  }

  externalChanged(input: NodeInput): void {
    this.#input = input;
    this.#wanted = new Map();
    for (const peer of this.#peers.values()) this.#want(peer, input);
    this.#ask();
  }

  put(peer: Lease): void {
    this.#peers.set(peer.key, peer);
    if (this.#input !== undefined) this.#want(peer, this.#input);
    this.#ask();
  }

  remove(peer: Lease): void {
    this.#peers.delete(peer.key);
    this.#wanted.delete(peer.key);
    this.#ask();
  }

  allowSweep(): void {
    this.#maySweep = true;
    this.#lookAtMs = this.#listAtMs = -Infinity; // at all, for those that nobody wants
    this.#ask();
  }

  async whenSettled(): Promise<void> {
    while (this.#done < this.#asked) await this.#settled.promise;
  }

  problems(): readonly string[] {
    const refused = [...this.#session?.refused ?? []].map(([name, reason]) => `${name}: ${reason}`);
    // Without ESP no tunnel can come up: missing tunnels need not be reported as well.
    const tunnels = this.#options.esp.problem() ?? this.#tunnels.problem();
    const problems = [this.#problem, ...refused, tunnels];
    return problems.filter((problem) => problem !== undefined);
  }

  /** charon and its tunnels stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#stateWatch?.[Symbol.dispose]();
    this.#wake.resolve();
    await this.#running;
    this.#options.states[Symbol.dispose]();
    this.#options.claim[Symbol.dispose]();
  }

  #want(peer: Lease, input: NodeInput): void {
    this.#wanted.set(peer.key, this.#options.connection(peer, input));
  }

  #ask(): void {
    this.#asked++;
    this.#wake.resolve();
  }

  /** All is told that can be told, as of that many requests. */
  #settle(asked: number): void {
    this.#done = asked;
    this.#settled.resolve();
    this.#settled = Promise.withResolvers();
  }

  async #run(first: Charon): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    let failures = 0;
    let charon: Charon | undefined = first;
    while (!signal.aborted) {
      if (charon !== undefined) {
        const startMs = clock.nowMs();
        await this.#serve(charon);
        charon = undefined;
        if (signal.aborted) return;
        this.#problem = "the connection to charon is lost; its tunnels stay until they expire";
        log.warn(this.#problem);
        if (clock.nowMs() - startMs > STEADY_MS) failures = 0;
      }
      await sleep(clock, backoffMs(++failures, BACKOFF, clock), signal);
      if (!signal.aborted) charon = await this.#reachAgain();
    }
    if (charon !== undefined) giveUpCharon(charon);
  }

  async #reachAgain(): Promise<Charon | undefined> {
    const { charon: options, log } = this.#options;
    try {
      const charon = await reachCharon(options, this.#stop.signal);
      log.info(`keys are exchanged by ${charon.description}`);
      this.#problem = undefined;
      return charon;
    } catch (error) {
      const reason = (error as Error).message;
      if (reason !== this.#problem) log.warn(reason);
      this.#problem = reason;
      this.#settle(this.#asked);
      return undefined;
    }
  }

  /** Until the connection ends. A charon of our own that does not answer any more is in the way then. */
  async #serve(charon: Charon): Promise<void> {
    const { network, log } = this.#options;
    using vici = charon.vici;
    const session = this.#session = new IkeSession(vici, network);
    this.#lookAtMs = this.#listAtMs = this.#verifyAtMs = -Infinity;
    const hangUp = () => vici[Symbol.dispose]();
    this.#stop.signal.addEventListener("abort", hangUp);
    let isOpen = true;
    void vici.closed.then(() => {
      isOpen = false;
      this.#wake.resolve();
    });
    try {
      await session.onTunnelChange((name) => this.#tunnelChanged(name));
      while (isOpen && !this.#stop.signal.aborted) await this.#serveOnce(session);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const { message, stack } = error as Error;
      if (error instanceof ViciError) log.warn(message);
      // Nothing that charon or a lease contains may end the process or the other tunnels.
      else {log.error(
          { stack: stack?.slice(0, 2000) },
          `cannot configure charon's tunnels: ${message}`,
        );}
    } finally {
      this.#stop.signal.removeEventListener("abort", hangUp);
      this.#session = undefined;
      if (!this.#stop.signal.aborted) charon.kill?.();
    }
  }

  /** Tells charon what is new, looks at the tunnels when it is time, and waits for more to do. */
  async #serveOnce(session: IkeSession): Promise<void> {
    const { clock } = this.#options;
    this.#wake = Promise.withResolvers();
    const asked = this.#asked;
    // Of one moment, up to the end: what comes meanwhile may allow to end what is not wanted, and
    // by itself make something wanted.
    const maySweep = this.#maySweep;
    const wanted: CharonConnections = new Map(
      [...this.#wanted.values()].map((connection) => [connection.name, connection]),
    );
    const isThorough = clock.nowMs() >= this.#verifyAtMs;
    await session.sync(wanted, { maySweep, isThorough });
    if (isThorough) {
      this.#verifyAtMs = clock.nowMs() + (session.isLarge ? LARGE_CHECK_MS : CHECK_MS);
    }
    if (clock.nowMs() >= this.#lookAtMs) await this.#look(session, wanted, maySweep);
    this.#settle(asked);
    if (asked !== this.#asked) return;
    const nextMs = Math.min(this.#lookAtMs, this.#verifyAtMs);
    using _timer = clock.setTimer(nextMs - clock.nowMs(), () => this.#wake.resolve());
    await this.#wake.promise;
  }

  async #look(session: IkeSession, wanted: CharonConnections, maySweep: boolean): Promise<void> {
    const { clock } = this.#options;
    const isFull = clock.nowMs() >= this.#listAtMs;
    // Before the question: a tunnel may come or go before the answer.
    this.#lookAtMs = clock.nowMs() + CHECK_MS;
    if (isFull) this.#listAtMs = clock.nowMs() + LIST_MS;
    const isUnsettled = await this.#tunnels.check(session, wanted, { maySweep, isFull });
    if (isUnsettled) this.#lookAtMs = Math.min(this.#lookAtMs, clock.nowMs() + SOON_MS);
  }

  /** A tunnel has come or gone, as charon says. */
  #tunnelChanged(name: string): void {
    this.#tunnels.changed(name);
    this.#lookSoon();
  }

  /** A state is gone from the kernel, or any may be: charon has done it, or it does not know. */
  #stateGone(ends: XfrmStateEnds | undefined): void {
    if (ends === undefined) {
      this.#listAtMs = -Infinity;
      return this.#lookSoon();
    }
    for (const { name, remote: { publicAddress } } of this.#wanted.values()) {
      if (publicAddress !== ends.source && publicAddress !== ends.destination) continue;
      this.#tunnelChanged(name);
    }
  }

  /** Soon, when those changes that belong together are done. */
  #lookSoon(): void {
    this.#lookAtMs = Math.min(this.#lookAtMs, this.#options.clock.nowMs() + SOON_MS);
    this.#wake.resolve();
  }
}

/** How often charon is asked what it has been told, and how the tunnels are that are in doubt. */
const CHECK_MS = 5000;
/** How often what it has been told where that is work: a third of a second with 10 000 peers. */
const LARGE_CHECK_MS = 60_000;
/** How often for all tunnels: it says by itself when one comes or goes. */
const LIST_MS = 300_000;
/** When something seems to be wrong. */
const SOON_MS = 1000;
const BACKOFF = { firstMs: 500, maxMs: 30_000 };
/** A charon that lived so long did not fail for a lasting reason. */
const STEADY_MS = 60_000;
