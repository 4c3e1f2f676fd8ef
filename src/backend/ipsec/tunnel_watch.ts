/** Watches which tunnels are up, and initiates, restores or ends tunnels. */

import type { Log } from "../../log/log.ts";
import { backoffMs, type Clock } from "../../base/clock.ts";
import type { CharonConnection, TunnelEnd } from "./charon_connection.ts";
import { LostTunnels, type LostTunnelsOptions } from "./lost_tunnels.ts";
import { peersText } from "./peers_text.ts";
import type { IkeSession, Tunnel } from "./ike_session.ts";
import { RedundantAssociations } from "./redundant_associations.ts";
import type { CharonConnections } from "./wanted_connections.ts";

export class TunnelWatch {
  readonly #clock: Clock;
  readonly #log: Log;
  /** Connections without a tunnel, by name. */
  readonly #down = new Map<string, Outage>();
  readonly #redundant: RedundantAssociations;
  readonly #lost: LostTunnels;
  /** Connections with exactly one tunnel, which was up at the last check. */
  readonly #settled = new Set<string>();
  /** Connections that look like ours with tunnels that have come up or gone down since. */
  #changed = new Set<string>();
  /** Peers that have had no tunnel for long, and those that have one again, for the log. */
  #newlyDown: TunnelEnd[] = [];
  #newlyUp: TunnelEnd[] = [];
  #count = 0;

  constructor(options: LostTunnelsOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#redundant = new RedundantAssociations(options.clock);
    this.#lost = new LostTunnels(options);
  }

  /** A tunnel of this connection has come up or gone down. */
  changed(name: string): void {
    this.#changed.add(name);
  }

  /**
   * Checks tunnels: all of them if `isFull`, otherwise those that are not known to be settled.
   * Tunnels that charon is not trying to create are initiated, and those that the kernel has lost
   * are restored. Redundant ones are ended, and those without a peer if `maySweep`. Returns
   * whether to check again soon: for a tunnel that has just gone down, or a repair that has to
   * wait. Throws `CharonError` if charon does not respond.
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
    const names = isFull || doubtful.size > MAX_NAMED ? undefined : doubtful;
    const tunnels = await session.tunnels(names);
    for (const connection of wanted.values()) {
      if (names?.has(connection.name) === false) continue;
      await this.#checkOne(session, connection, tunnels.get(connection.name));
    }
    this.#logChanges();
    const hasWaiting = await this.#lost.repair(session);
    for (const name of tunnels.keys()) {
      if (wanted.has(name)) continue;
      if (maySweep) await session.terminate(name);
      tunnels.delete(name);
    }
    for (const uniqueId of this.#redundant.find(tunnels.values())) {
      await session.terminateAssociation(uniqueId);
    }
    return hasWaiting ||
      [...this.#down.values()].some(({ attempts, isReported }) => attempts === 0 && !isReported);
  }

  /** Later changes are for the next check. */
  #takeDoubtful(wanted: CharonConnections): Set<string> {
    const doubtful = this.#changed;
    this.#changed = new Set();
    for (const name of wanted.keys()) if (!this.#settled.has(name)) doubtful.add(name);
    return doubtful;
  }

  async #checkOne(
    session: IkeSession,
    connection: CharonConnection,
    tunnel: Tunnel | undefined,
  ): Promise<void> {
    const { name } = connection;
    const isLost = this.#lost.find(connection, tunnel);
    const isAlone = tunnel?.associations.length === 1;
    if (tunnel?.isUp && isAlone && !isLost && !tunnel.isBusy) this.#settled.add(name);
    else this.#settled.delete(name);
    if (tunnel?.isUp) this.#markUp(connection);
    else await this.#handleDown(session, connection, tunnel);
  }

  /**
   * The message that this node is cut off: it has had no tunnel at all for a while. A single peer
   * without a tunnel has most likely failed itself: that is logged, but this node stays ready.
   */
  problem(): string | undefined {
    const lasting = [...this.#down.values()].filter((outage) => this.#lasts(outage));
    if (this.#count === 0 || lasting.length < this.#count) return undefined;
    const what = this.#count === 1 ? "the only peer" : `any of the ${this.#count} peers`;
    return `no IPsec tunnel to ${what} for ${OUTAGE_MS / 1000} s or more; check that firewalls ` +
      "allow UDP ports 500 and 4500 and ESP, and that all nodes have the same PSK";
  }

  #markUp({ name, remote }: CharonConnection): void {
    const outage = this.#down.get(name);
    this.#down.delete(name);
    if (outage?.isReported) this.#newlyUp.push(remote);
  }

  async #handleDown(
    session: IkeSession,
    connection: CharonConnection,
    tunnel: Tunnel | undefined,
  ): Promise<void> {
    const { name, remote } = connection;
    const nowMs = this.#clock.nowMs();
    let outage = this.#down.get(name);
    if (outage === undefined) {
      outage = { sinceMs: nowMs, attempts: 0, attemptMs: nowMs + FIRST_MS, isReported: false };
      this.#down.set(name, outage);
    }
    if (tunnel?.isTrying !== true && nowMs >= outage.attemptMs) {
      outage.attempts++;
      outage.attemptMs = nowMs + backoffMs(outage.attempts, BACKOFF, this.#clock);
      await session.initiate(connection);
    }
    if (outage.isReported || !this.#lasts(outage)) return;
    outage.isReported = true;
    this.#newlyDown.push(remote);
  }

  /** One line for all tunnels, because an outage of the network affects many at once. */
  #logChanges(): void {
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
  /** How often the tunnel was initiated, and when the next attempt is due. */
  attempts: number;
  attemptMs: number;
  isReported: boolean;
}

/** A handshake takes less than a second; charon repeats a lost packet after 4 and 7 seconds. */
const OUTAGE_MS = 30_000;
/** Before the first attempt: connections that charon is busy with are missing for a moment. */
const FIRST_MS = 1000;
/** charon scans its whole list for each name: of more tunnels than this, the list is requested. */
const MAX_NAMED = 16;
const BACKOFF = { firstMs: 2000, maxMs: 60_000 };
