/**
 * Restores tunnels whose states another program has deleted from the kernel, for example by a
 * flush, while charon still considers them up. `MAX_RUNNING` are created again at a time.
 */

import type { Log } from "../../log/log.ts";
import type { XfrmStates } from "../../kernel/xfrm/xfrm_states.ts";
import { backoffMs, type Clock } from "../../base/clock.ts";
import type { CharonConnection, TunnelEnd } from "./charon_connection.ts";
import { peersText } from "./peers_text.ts";
import type { IkeSession, Tunnel } from "./ike_session.ts";
import type { CharonConnections } from "./wanted_connections.ts";

export interface LostTunnelsOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** The security associations that charon creates. */
  readonly states: Pick<XfrmStates, "lacks">;
}

export class LostTunnels {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #states: Pick<XfrmStates, "lacks">;
  /** Of connections whose tunnel was lost recently, by name. */
  readonly #repairs = new Map<string, Repair>();
  /** Found since the last `repair`. */
  #found: Loss[] = [];

  constructor({ clock, log, states }: LostTunnelsOptions) {
    this.#clock = clock;
    this.#log = log;
    this.#states = states;
  }

  /** Forgets all other connections. */
  keepOnly(wanted: CharonConnections): void {
    for (const name of this.#repairs.keys()) if (!wanted.has(name)) this.#repairs.delete(name);
  }

  /**
   * Returns whether states of this tunnel are missing in the kernel; the next `repair` restores
   * them. `tunnel` was read from charon before, so its states were in the kernel at that time.
   */
  find(connection: CharonConnection, tunnel: Tunnel | undefined): boolean {
    const children = tunnel?.associations.flatMap(({ settledChildren }) => settledChildren) ?? [];
    const childIds = children.filter(({ states }) => states.some((one) => this.#states.lacks(one)))
      .map(({ uniqueId }) => uniqueId);
    const repair = this.#repairs.get(connection.name);
    if (repair !== undefined) repair.isRunning = tunnel?.isBusy === true;
    if (childIds.length > 0) {
      this.#found.push({ connection, childIds });
      return true;
    }
    // The tunnel is complete. After the delay, attempts count from one again.
    if (repair !== undefined && this.#clock.nowMs() >= repair.nextMs) {
      this.#repairs.delete(connection.name);
    }
    return false;
  }

  /**
   * Starts to restore the found tunnels that are due, as many as may run at once. Returns whether
   * others wait for them. Throws `CharonError` if charon does not respond.
   */
  async repair(session: IkeSession): Promise<boolean> {
    const nowMs = this.#clock.nowMs();
    const due = this.#found.map((loss) => ({ ...loss, repair: this.#repairOf(loss.connection) }))
      .filter(({ repair }) => nowMs >= repair.nextMs);
    this.#found = [];
    const unlogged = due.filter(({ repair }) => !repair.isLogged);
    if (unlogged.length > 0) this.#logLosses(unlogged.map(({ connection }) => connection.remote));
    for (const { repair } of unlogged) repair.isLogged = true;
    const running =
      [...this.#repairs.values()].filter(({ isRunning, startMs }) =>
        isRunning && nowMs < startMs + RUNNING_MS
      ).length;
    const started = due.slice(0, Math.max(0, MAX_RUNNING - running));
    for (const { repair, childIds } of started) {
      repair.isLogged = false;
      repair.startMs = nowMs;
      repair.nextMs = nowMs + backoffMs(++repair.attempts, BACKOFF, this.#clock);
      for (const childId of childIds) await session.rekey(childId);
    }
    return started.length < due.length;
  }

  #logLosses(peers: readonly TunnelEnd[]): void {
    const [tunnels, them] = peers.length === 1 ? ["tunnel", "it"] : ["tunnels", "them"];
    this.#log.warn(`the kernel has lost the ${tunnels} to ${peersText(peers)}; restoring ${them}`);
  }

  #repairOf({ name }: CharonConnection): Repair {
    let repair = this.#repairs.get(name);
    if (repair === undefined) {
      repair = {
        attempts: 0,
        nextMs: -Infinity,
        startMs: -Infinity,
        isLogged: false,
        isRunning: false,
      };
      this.#repairs.set(name, repair);
    }
    return repair;
  }
}

interface Loss {
  readonly connection: CharonConnection;
  /** charon's numbers of the lost tunnels. */
  readonly childIds: readonly string[];
}

interface Repair {
  attempts: number;
  /** When the last attempt started, and when the next one may. */
  startMs: number;
  nextMs: number;
  /** The loss has been logged; the repair waits for others. */
  isLogged: boolean;
  /** charon was creating the tunnel when it was last read. */
  isRunning: boolean;
}

/** A repair takes both ends some milliseconds, and the peer may repair many others meanwhile. */
const MAX_RUNNING = 100;
/** A repair that takes longer waits for a peer that does not respond, and no longer counts. */
const RUNNING_MS = 5000;
/** For repairs that do not help, or whose states are deleted again: each is work for the peer. */
const BACKOFF = { firstMs: 10_000, maxMs: 300_000 };
