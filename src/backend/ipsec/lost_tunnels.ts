/**
 * Tunnels that charon believes in and the kernel has lost, because somebody has deleted or flushed
 * their states: they are made anew, some at a time.
 */

import type { Log } from "../../log/log.ts";
import type { XfrmStates } from "../../kernel/xfrm/xfrm_states.ts";
import { backoffMs, type Clock } from "../../base/clock.ts";
import type { CharonConnection, TunnelEnd } from "./charon_connection.ts";
import { peersText } from "./peers_text.ts";
import type { CharonConnections, IkeSession, Tunnel } from "./ike_session.ts";

export interface LostTunnelsOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Where charon puts its tunnels. */
  readonly states: Pick<XfrmStates, "lacks">;
}

export class LostTunnels {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #states: Pick<XfrmStates, "lacks">;
  /** Of connections whose tunnel was lost not long ago, by name. */
  readonly #mends = new Map<string, Mend>();
  /** What has been found since the last time that tunnels were made anew. */
  #found: Loss[] = [];

  constructor({ clock, log, states }: LostTunnelsOptions) {
    this.#clock = clock;
    this.#log = log;
    this.#states = states;
  }

  /** Forgets what nobody wants any more. */
  keepOnly(wanted: CharonConnections): void {
    for (const name of this.#mends.keys()) if (!wanted.has(name)) this.#mends.delete(name);
  }

  /**
   * Looks for what the kernel lacks of this tunnel, to be made anew with the next `mend`. charon has
   * been asked first: what it has just made is there, then. Gives whether anything is lacking.
   */
  find(connection: CharonConnection, tunnel: Tunnel | undefined): boolean {
    const children = tunnel?.associations.flatMap(({ settledChildren }) => settledChildren) ?? [];
    const childIds = children.filter(({ states }) => states.some((one) => this.#states.lacks(one)))
      .map(({ uniqueId }) => uniqueId);
    const mend = this.#mends.get(connection.name);
    if (mend !== undefined) mend.isUnderWay = tunnel?.isBusy === true;
    if (childIds.length > 0) {
      this.#found.push({ connection, childIds });
      return true;
    }
    // Nothing of it is missing: attempts count from one again, after the pause.
    if (mend !== undefined && this.#clock.nowMs() >= mend.attemptMs) {
      this.#mends.delete(connection.name);
    }
    return false;
  }

  /**
   * Begins to make anew what was found and is due, as many as may be under way at once. Gives
   * whether others wait for them. Throws `ViciError` when charon does not answer any more.
   */
  async mend(session: IkeSession): Promise<boolean> {
    const nowMs = this.#clock.nowMs();
    const due = this.#found.map((loss) => ({ ...loss, mend: this.#mendOf(loss.connection) }))
      .filter(({ mend }) => nowMs >= mend.attemptMs);
    this.#found = [];
    const untold = due.filter(({ mend }) => !mend.isTold);
    if (untold.length > 0) this.#tell(untold.map(({ connection }) => connection.remote));
    for (const { mend } of untold) mend.isTold = true;
    const underWay =
      [...this.#mends.values()].filter(({ isUnderWay, beginMs }) =>
        isUnderWay && nowMs < beginMs + UNDER_WAY_MS
      ).length;
    const begun = due.slice(0, Math.max(0, AT_ONCE - underWay));
    for (const { mend, childIds } of begun) {
      mend.isTold = false;
      mend.beginMs = nowMs;
      mend.attemptMs = nowMs + backoffMs(++mend.attempts, BACKOFF, this.#clock);
      for (const childId of childIds) await session.rekey(childId);
    }
    return begun.length < due.length;
  }

  #tell(peers: readonly TunnelEnd[]): void {
    const [tunnels, them] = peers.length === 1 ? ["tunnel", "it"] : ["tunnels", "them"];
    this.#log.warn(
      `the kernel has lost the ${tunnels} to ${peersText(peers)}; making ${them} anew`,
    );
  }

  #mendOf({ name }: CharonConnection): Mend {
    let mend = this.#mends.get(name);
    if (mend === undefined) {
      mend = {
        attempts: 0,
        attemptMs: -Infinity,
        beginMs: -Infinity,
        isTold: false,
        isUnderWay: false,
      };
      this.#mends.set(name, mend);
    }
    return mend;
  }
}

interface Loss {
  readonly connection: CharonConnection;
  /** charon's numbers of its tunnels that are lost. */
  readonly childIds: readonly string[];
}

interface Mend {
  /** How often the tunnel was made anew, when that began the last time, and when it may again. */
  attempts: number;
  beginMs: number;
  attemptMs: number;
  /** The log says already that it is lost; it waits for others. */
  isTold: boolean;
  /** charon is at it, when it was last asked. */
  isUnderWay: boolean;
}

/** Each costs both ends some milliseconds, and the peer has others to answer as well. */
const AT_ONCE = 100;
/** What has taken longer waits for a peer that does not answer: others do not wait for it. */
const UNDER_WAY_MS = 5000;
/** Where it does not help, or somebody deletes states all the time: the peer has work with it. */
const BACKOFF = { firstMs: 10_000, maxMs: 300_000 };
