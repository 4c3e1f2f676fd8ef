/**
 * Which of several IKE associations with one peer to end. There are several where both ends began at
 * once, and where a peer that lost its own began anew.
 *
 * A tunnel carries packets for the end that sends through it, and the kernel sends through the one
 * that it got last. So the ends may send through different ones when they got both within one second,
 * which is what kernels count in; and a tunnel that the peer lost looks like any other here. What can
 * be seen is whether the peer sends through it: one that it does not use can be ended here without
 * losing a packet, because this end's packets take another at once, and those before are there.
 */

import type { Clock } from "../../base/clock.ts";
import type { IkeAssociation, Tunnel } from "./ike_session.ts";

export class RedundantAssociations {
  readonly #clock: Clock;
  /** What came through those that are not alone, by SPI. */
  #heard = new Map<string, Heard>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Numbers of those to end, of all tunnels that are wanted. To be asked again and again. */
  find(tunnels: Iterable<Tunnel>): string[] {
    const several = [...tunnels].filter(({ isUp, associations }) => isUp && associations.length > 1)
      .map(({ associations }) => associations);
    this.#listen(several.flat());
    return several.flatMap((associations) =>
      associations.filter((one) => one.isUnanswered || this.#isSpare(one, associations))
        .map(({ uniqueId }) => uniqueId)
    );
  }

  #listen(associations: readonly IkeAssociation[]): void {
    const nowMs = this.#clock.nowMs();
    this.#heard = new Map(associations.map(({ initiatorSpi, packetsIn }) => {
      const before = this.#heard.get(initiatorSpi);
      // Where charon does not say, it is never equal: such a one is not taken for silent.
      const isSilent = before !== undefined && before.packetsIn === packetsIn;
      return [initiatorSpi, isSilent ? before : { packetsIn, atMs: nowMs }];
    }));
  }

  #isSpare(one: IkeAssociation, all: readonly IkeAssociation[]): boolean {
    const silentMs = this.#silentMs(one);
    if (one.ageSeconds === undefined || silentMs < SILENT_MS) return false;
    const youngest = Math.min(...all.map(({ ageSeconds = Infinity }) => ageSeconds));
    if (youngest >= PROVEN_SECONDS && one.ageSeconds > youngest + AGE_MARGIN_SECONDS) return true;
    const withTunnel = all.filter(({ ageSeconds }) => ageSeconds !== undefined);
    // The ends may each hear another one, and must not end both.
    const isLowest = withTunnel.every(({ initiatorSpi }) => one.initiatorSpi <= initiatorSpi);
    return silentMs >= (isLowest ? LOWEST_SILENT_MS : SILENT_MS) &&
      withTunnel.some((other) => this.#silentMs(other) < SILENT_MS);
  }

  #silentMs({ initiatorSpi }: IkeAssociation): number {
    const nowMs = this.#clock.nowMs();
    return nowMs - (this.#heard.get(initiatorSpi)?.atMs ?? nowMs);
  }
}

/** How many packets had come when that was last seen to change, or at first. */
interface Heard {
  readonly packetsIn: number;
  readonly atMs: number;
}

/** The peer does not send through a tunnel from which nothing has come for so long, if it sends. */
const SILENT_MS = 15_000;
/** Until then, a peer that hears this one only would have ended the other. */
const LOWEST_SILENT_MS = 45_000;
/** So much younger must a tunnel be for both ends to agree that it is: they count whole seconds. */
const AGE_MARGIN_SECONDS = 3;
/** So old must it be for nothing to be under way any more on those before it. */
const PROVEN_SECONDS = 30;
