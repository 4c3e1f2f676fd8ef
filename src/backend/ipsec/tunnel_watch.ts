/** Which tunnels are up, since when the others are not, and what is done about it. */

import type { Log } from "../../log/log.ts";
import { backoffMs, type Clock } from "../../base/clock.ts";
import type { CharonConnection, TunnelEnd } from "./charon_connection.ts";
import { LostTunnels, type LostTunnelsOptions } from "./lost_tunnels.ts";
import { peersText } from "./peers_text.ts";
import type { CharonConnections, IkeSession, Tunnel } from "./ike_session.ts";
import { RedundantAssociations } from "./redundant_associations.ts";

export class TunnelWatch {
  readonly #clock: Clock;
  readonly #log: Log;
  /** Connections without a tunnel, by name. */
  readonly #down = new Map<string, Outage>();
  readonly #spare: RedundantAssociations;
  readonly #lost: LostTunnels;
  /** Connections with one tunnel, up when last looked at. */
  readonly #settled = new Set<string>();
  /** Connections, anybody's that look like ours, of which a tunnel has come or gone since. */
  #changed = new Set<string>();
  /** Peers without a tunnel for long, and those that have one again, for the log. */
  #newlyDown: TunnelEnd[] = [];
  #newlyUp: TunnelEnd[] = [];
  #count = 0;

  constructor(options: LostTunnelsOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#spare = new RedundantAssociations(options.clock);
    this.#lost = new LostTunnels(options);
  }

  /** A tunnel of this connection has come or gone. */
  changed(name: string): void {
    this.#changed.add(name);
  }

  /**
   * Looks at tunnels, all of them if `isFull`, or else those that are not known to be up and alone.
   * One that charon is not even trying to make is begun anew, and so is one that charon believes in
   * and the kernel has lost; one that is not needed beside others is ended, and so is one that
   * nobody wants if `maySweep`. Gives whether to look again soon: for a peer that is down and has not
   * been for long, or that has to wait. Throws `ViciError` when charon does not answer any more.
   */
  async check(
    session: IkeSession,
    wanted: CharonConnections,
    { maySweep, isFull }: { readonly maySweep: boolean; readonly isFull: boolean },
  ): Promise<boolean> {
    this.#count = wanted.size;
    for (const name of this.#down.keys()) if (!wanted.has(name)) this.#down.delete(name);
    for (const name of this.#settled) if (!wanted.has(name)) this.#settled.delete(name);
    this.#lost.keepOnly(wanted);
    const doubtful = this.#takeDoubtful(wanted);
    const names = isFull || doubtful.size > ASKED_SINGLY ? undefined : doubtful;
    const tunnels = await session.tunnels(names);
    for (const connection of wanted.values()) {
      if (names?.has(connection.name) === false) continue;
      await this.#seen(session, connection, tunnels.get(connection.name));
    }
    this.#tell();
    const doWait = await this.#lost.mend(session);
    for (const name of tunnels.keys()) {
      if (wanted.has(name)) continue;
      if (maySweep) await session.terminate(name);
      tunnels.delete(name);
    }
    for (const uniqueId of this.#spare.find(tunnels.values())) {
      await session.terminateAssociation(uniqueId);
    }
    return doWait ||
      [...this.#down.values()].some(({ attempts, isReported }) => attempts === 0 && !isReported);
  }

  /** What happens from now on is for the next time. */
  #takeDoubtful(wanted: CharonConnections): Set<string> {
    const doubtful = this.#changed;
    this.#changed = new Set();
    for (const name of wanted.keys()) if (!this.#settled.has(name)) doubtful.add(name);
    return doubtful;
  }

  async #seen(
    session: IkeSession,
    connection: CharonConnection,
    tunnel: Tunnel | undefined,
  ): Promise<void> {
    const { name } = connection;
    const isLost = this.#lost.find(connection, tunnel);
    const isAlone = tunnel?.associations.length === 1;
    if (tunnel?.isUp && isAlone && !isLost && !tunnel.isBusy) this.#settled.add(name);
    else this.#settled.delete(name);
    if (tunnel?.isUp) this.#isUp(connection);
    else await this.#isDown(session, connection, tunnel?.isTrying === true);
  }

  /**
   * That this node is cut off: no tunnel at all for a while. A single peer without one has failed
   * by itself, most likely; that is told in the log and does not make this node unfit.
   */
  problem(): string | undefined {
    const lasting = [...this.#down.values()].filter((outage) => this.#lasts(outage));
    if (this.#count === 0 || lasting.length < this.#count) return undefined;
    const what = this.#count === 1 ? "the only peer" : `any of the ${this.#count} peers`;
    return `no IPsec tunnel to ${what} for ${OUTAGE_MS / 1000} s or more; do UDP ports 500 and ` +
      "4500 and ESP pass, and is the PSK the same everywhere?";
  }

  #isUp({ name, remote }: CharonConnection): void {
    const outage = this.#down.get(name);
    this.#down.delete(name);
    if (outage?.isReported) this.#newlyUp.push(remote);
  }

  async #isDown(
    session: IkeSession,
    connection: CharonConnection,
    isTrying: boolean,
  ): Promise<void> {
    const { name, remote } = connection;
    const nowMs = this.#clock.nowMs();
    let outage = this.#down.get(name);
    if (outage === undefined) {
      outage = { sinceMs: nowMs, attempts: 0, attemptMs: nowMs + FIRST_MS, isReported: false };
      this.#down.set(name, outage);
    }
    if (!isTrying && nowMs >= outage.attemptMs) {
      outage.attempts++;
      outage.attemptMs = nowMs + backoffMs(outage.attempts, BACKOFF, this.#clock);
      await session.initiate(connection);
    }
    if (outage.isReported || !this.#lasts(outage)) return;
    outage.isReported = true;
    this.#newlyDown.push(remote);
  }

  /** One line for all of a kind: a network that fails or comes back takes many with it. */
  #tell(): void {
    const [down, up] = [this.#newlyDown, this.#newlyUp];
    this.#newlyDown = [];
    this.#newlyUp = [];
    if (down.length > 0) {
      this.#log.warn(`no tunnel to ${peersText(down)} for ${OUTAGE_MS / 1000} s; still trying`);
    }
    if (up.length === 1) this.#log.info(`the tunnel to ${peersText(up)} is up`);
    if (up.length > 1) this.#log.info(`the tunnels to ${peersText(up)} are up`);
  }

  #lasts({ sinceMs }: Outage): boolean {
    return this.#clock.nowMs() - sinceMs >= OUTAGE_MS;
  }
}

interface Outage {
  readonly sinceMs: number;
  /** How often it was begun anew, and when it is time again. */
  attempts: number;
  attemptMs: number;
  isReported: boolean;
}

/** A handshake takes less than a second; a lost packet is sent again after 4 and 7 seconds. */
const OUTAGE_MS = 30_000;
/** A connection that charon is busy with does not show: it has to be missing for a while. */
const FIRST_MS = 1000;
/** charon goes through all it has for each question: from so many on it is asked for all at once. */
const ASKED_SINGLY = 16;
const BACKOFF = { firstMs: 2000, maxMs: 60_000 };
