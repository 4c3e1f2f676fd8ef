/**
 * Keeps charon's connections in line with the leases: one for each peer, with its pre-shared key.
 * All of them are loaded again into a new charon. Connections that another program removes are
 * restored, and so are tunnels that another program deletes from the kernel without charon
 * knowing.
 */

import type { Prefix } from "../../addr/prefix.ts";
import type { Log } from "../../log/log.ts";
import type { XfrmStateEnds, XfrmStates } from "../../kernel/xfrm/xfrm_states.ts";
import type { Lease } from "../../subnet/lease.ts";
import type { Clock } from "../../base/clock.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { BackendTarget } from "../../overlay/backend_target.ts";
import { ChangeCounter } from "./change_counter.ts";
import type { Charon, CharonOptions } from "./charon.ts";
import type { CharonConnection } from "./charon_connection.ts";
import { CharonLink } from "./charon_link.ts";
import { CheckSchedule } from "./check_schedule.ts";
import type { EspCheck } from "./esp_check.ts";
import { IkeSession } from "./ike_session.ts";
import { TunnelWatch } from "./tunnel_watch.ts";
import type { Vici } from "./vici.ts";
import { type CharonConnections, WantedConnections } from "./wanted_connections.ts";

export interface CharonTargetOptions {
  readonly charon: CharonOptions;
  /** Keeps other daemons from using this charon; released at the end. */
  readonly claim: Disposable;
  /** Whether tunnels are possible at all. */
  readonly esp: EspCheck;
  /** The charon to start with. */
  readonly first: Charon;
  readonly network: Prefix;
  /** The security associations that charon creates; disposed at the end. */
  readonly states: XfrmStates;
  /** The tunnel to a peer with a valid lease. */
  readonly connection: (peer: Lease, input: NodeInput) => CharonConnection;
  readonly clock: Clock;
  readonly log: Log;
}

export class CharonTarget implements BackendTarget {
  readonly #options: CharonTargetOptions;
  readonly #wanted: WantedConnections;
  readonly #changes = new ChangeCounter();
  readonly #checks: CheckSchedule;
  readonly #tunnels: TunnelWatch;
  readonly #link: CharonLink;
  #session: IkeSession | undefined;
  #stateWatch: Disposable | undefined;
  /** Connections and tunnels without a peer may be removed. */
  #maySweep = false;

  constructor(options: CharonTargetOptions) {
    this.#options = options;
    this.#wanted = new WantedConnections(options.connection);
    this.#checks = new CheckSchedule(options.clock);
    this.#tunnels = new TunnelWatch(options);
    this.#link = new CharonLink({
      ...options,
      serve: (vici) => this.#serve(vici),
      onUnavailable: () => this.#changes.settleAll(),
    });
  }

  start(input: NodeInput): Promise<void> {
    return Promise.try(() => {
      this.#wanted.setInput(input);
      this.#stateWatch = this.#options.states.watch((ends) => this.#stateDeleted(ends));
      this.#link.start();
    });
  }

  externalChanged(input: NodeInput): void {
    this.#wanted.setInput(input);
    this.#changes.add();
  }

  put(peer: Lease): void {
    this.#wanted.put(peer);
    this.#changes.add();
  }

  remove(peer: Lease): void {
    this.#wanted.remove(peer);
    this.#changes.add();
  }

  allowSweep(): void {
    this.#maySweep = true;
    this.#checks.allTunnelsNow(); // to find those without a peer
    this.#changes.add();
  }

  async whenSettled(): Promise<void> {
    await this.#changes.whenSettled();
  }

  problems(): readonly string[] {
    const refused = [...this.#session?.refused ?? []].map(([name, reason]) => `${name}: ${reason}`);
    // Without ESP no tunnel can come up: missing tunnels need not be reported as well.
    const tunnels = this.#options.esp.problem() ?? this.#tunnels.problem();
    const problems = [this.#link.problem, ...refused, tunnels];
    return problems.filter((problem) => problem !== undefined);
  }

  /** charon and its tunnels stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stateWatch?.[Symbol.dispose]();
    await this.#link[Symbol.asyncDispose]();
    this.#options.states[Symbol.dispose]();
    this.#options.claim[Symbol.dispose]();
  }

  /** Until the connection is closed. */
  async #serve(vici: Vici): Promise<void> {
    const session = this.#session = new IkeSession(vici, this.#options.network);
    this.#checks.reset();
    let isOpen = true;
    void vici.closed.then(() => {
      isOpen = false;
      this.#changes.wake();
    });
    try {
      await session.onTunnelChange((name) => this.#tunnelChanged(name));
      while (isOpen) await this.#serveOnce(session);
    } finally {
      this.#session = undefined;
    }
  }

  /** Applies changes, makes the checks that are due, and waits for more to do. */
  async #serveOnce(session: IkeSession): Promise<void> {
    const changes = this.#changes.begin();
    // Both of one moment, and used to the end: a change during the pass may allow sweeping, and at
    // the same time add a connection.
    const maySweep = this.#maySweep;
    const wanted = this.#wanted.byName();
    const isThorough = this.#checks.areConnectionsDue;
    await session.sync(wanted, { maySweep, isThorough });
    if (isThorough) this.#checks.connectionsChecked(session);
    if (this.#checks.areTunnelsDue) await this.#checkTunnels(session, wanted, { maySweep });
    this.#changes.settle(changes);
    if (!this.#changes.isLatest(changes)) return;
    const wake = () => this.#changes.wake();
    using _timer = this.#options.clock.setTimer(this.#checks.delayMs, wake);
    await this.#changes.untilWoken();
  }

  async #checkTunnels(
    session: IkeSession,
    wanted: CharonConnections,
    { maySweep }: { readonly maySweep: boolean },
  ): Promise<void> {
    const isFull = this.#checks.areAllTunnelsDue;
    this.#checks.tunnelCheckStarted({ isFull });
    const isUnsettled = await this.#tunnels.check(session, wanted, { maySweep, isFull });
    if (isUnsettled) this.#checks.tunnelsSoon();
  }

  /** charon reports that a tunnel has come up or gone down. */
  #tunnelChanged(name: string): void {
    this.#tunnels.changed(name);
    this.#checks.tunnelsSoon();
    this.#changes.wake();
  }

  /**
   * A security association was deleted from the kernel, perhaps without charon knowing;
   * `undefined` if any of them may have been.
   */
  #stateDeleted(ends: XfrmStateEnds | undefined): void {
    if (ends === undefined) {
      this.#checks.allTunnelsSoon();
      this.#changes.wake();
      return;
    }
    for (const { name, remote: { publicAddress } } of this.#wanted.all()) {
      if (publicAddress === ends.source || publicAddress === ends.destination) {
        this.#tunnelChanged(name);
      }
    }
  }
}
