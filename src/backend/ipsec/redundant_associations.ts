/**
 * Decides which of several IKE associations with one peer to end. There are several if both ends
 * have initiated one at the same time, and if a peer has lost its association and initiated a new
 * one.
 *
 * Each end sends through the tunnel that its kernel has got last. The ends may use different ones
 * if both tunnels were created within one second, the resolution of the kernel's time stamps. A
 * tunnel that the peer has lost looks like any other here. But an end knows whether the peer
 * sends through a tunnel. One that the peer does not use can be ended without losing a packet:
 * this end's packets take another tunnel at once, and earlier ones have arrived.
 */

import type { Clock } from "../../base/clock.ts";
import type { IkeAssociation, Tunnel } from "./ike_session.ts";

export class RedundantAssociations {
  readonly #clock: Clock;
  /** Packets that came through redundant associations, by SPI. */
  #received = new Map<string, Received>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns charon's numbers of the associations to end. Has to be called with each check. */
  find(tunnels: Iterable<Tunnel>): string[] {
    const several = [...tunnels].filter(({ isUp, associations }) => isUp && associations.length > 1)
      .map(({ associations }) => associations);
    this.#count(several.flat());
    return several.flatMap((associations) =>
      associations.filter((one) => one.isUnanswered || this.#isRedundant(one, associations))
        .map(({ uniqueId }) => uniqueId)
    );
  }

  #count(associations: readonly IkeAssociation[]): void {
    const nowMs = this.#clock.nowMs();
    this.#received = new Map(associations.map(({ initiatorSpi, packetsIn }) => {
      const before = this.#received.get(initiatorSpi);
      // NaN if charon does not report it, which never equals: such an association is never silent.
      const isSilent = before !== undefined && before.packetsIn === packetsIn;
      return [initiatorSpi, isSilent ? before : { packetsIn, atMs: nowMs }];
    }));
  }

  #isRedundant(one: IkeAssociation, all: readonly IkeAssociation[]): boolean {
    const silentMs = this.#silentMs(one);
    if (one.ageSeconds === undefined || silentMs < SILENT_MS) return false;
    const youngest = Math.min(...all.map(({ ageSeconds = Infinity }) => ageSeconds));
    if (youngest >= PROVEN_SECONDS && one.ageSeconds > youngest + AGE_MARGIN_SECONDS) return true;
    const withTunnel = all.filter(({ ageSeconds }) => ageSeconds !== undefined);
    // The peer may receive through another one: the two ends may not each end the other's.
    const isLowest = withTunnel.every(({ initiatorSpi }) => one.initiatorSpi <= initiatorSpi);
    return silentMs >= (isLowest ? LOWEST_SILENT_MS : SILENT_MS) &&
      withTunnel.some((other) => this.#silentMs(other) < SILENT_MS);
  }

  #silentMs({ initiatorSpi }: IkeAssociation): number {
    const nowMs = this.#clock.nowMs();
    return nowMs - (this.#received.get(initiatorSpi)?.atMs ?? nowMs);
  }
}

/** The number of packets, and when it was first seen. */
interface Received {
  readonly packetsIn: number;
  readonly atMs: number;
}

/** After this time without packets, the peer does not use a tunnel, unless it sends none at all. */
const SILENT_MS = 15_000;
/** By then, a peer that only receives through this one would have ended the other. */
const LOWEST_SILENT_MS = 45_000;
/** From this age difference on, both ends agree which is younger: they count whole seconds. */
const AGE_MARGIN_SECONDS = 3;
/** At this age of a tunnel, no packets are in flight any more on older ones. */
const PROVEN_SECONDS = 30;
