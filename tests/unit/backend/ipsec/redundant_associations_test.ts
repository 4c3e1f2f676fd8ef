import { describe, expect, test } from "bun:test";
import type { IkeAssociation } from "../../../../src/backend/ipsec/ike_session.ts";
import { RedundantAssociations } from "../../../../src/backend/ipsec/redundant_associations.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

const PERIOD_SECONDS = 5;

/** One end's view of several tunnels with one peer, checked as often as by the tunnel watch. */
class End {
  readonly #clock = new FakeClock();
  readonly #redundant = new RedundantAssociations(this.#clock);
  readonly #packets = new Map<string, number>();
  #associations: IkeAssociation[];

  /** Ages, in the order of their SPIs, which are also their numbers; `undefined` for no tunnel. */
  constructor(...ages: (number | undefined)[]) {
    this.#associations = ages.map((ageSeconds, i) => ({
      uniqueId: String(i + 1),
      initiatorSpi: String(i + 1),
      isUnanswered: false,
      ageSeconds,
      packetsIn: 0,
      settledChildren: [],
    }));
  }

  /**
   * Lets time pass while the peer sends through some of them. Returns the numbers of those to end,
   * each once, with the second; they are removed then.
   */
  async pass(seconds: number, peerSendsBy: readonly string[]): Promise<string[]> {
    const ended: string[] = [];
    for (let second = 0; second <= seconds; second += PERIOD_SECONDS) {
      const associations = this.#associations.map((one) => this.#now(one, second, peerSendsBy));
      const found = this.#redundant.find([{
        isUp: true,
        isTrying: false,
        isBusy: false,
        associations,
      }]);
      ended.push(...found.map((uniqueId) => `${uniqueId} after ${second} s`));
      this.#associations = this.#associations.filter(({ uniqueId }) => !found.includes(uniqueId));
      await this.#clock.advance(PERIOD_SECONDS * 1000);
    }
    return ended;
  }

  #now(one: IkeAssociation, second: number, used: readonly string[]): IkeAssociation {
    const packetsIn = (this.#packets.get(one.uniqueId) ?? 0) +
      (used.includes(one.uniqueId) ? 1 : 0);
    this.#packets.set(one.uniqueId, packetsIn);
    const age = one.ageSeconds === undefined ? {} : { ageSeconds: one.ageSeconds + second };
    return { ...one, ...age, packetsIn };
  }
}

describe("of two tunnels with one peer", () => {
  test("the older one ends when the younger one is proven", async () => {
    expect(await new End(60, 0).pass(60, ["2"])).toEqual(["1 after 30 s"]);
  });

  test("the older one also ends if nothing is sent", async () => {
    expect(await new End(60, 0).pass(60, [])).toEqual(["1 after 30 s"]);
  });

  test("the older one stays as long as the peer sends through it", async () => {
    expect(await new End(60, 0).pass(300, ["1"])).toEqual(["2 after 15 s"]);
    expect(await new End(60, 0).pass(300, ["1", "2"])).toEqual([]);
  });

  test("both stay if they are of nearly the same age and nothing is sent", async () => {
    expect(await new End(2, 0).pass(300, [])).toEqual([]);
  });

  test("one that the peer does not use ends next to one that it uses, at any age", async () => {
    expect(await new End(2, 0).pass(60, ["1"])).toEqual(["2 after 15 s"]);
    expect(await new End(0, 0).pass(60, ["1"])).toEqual(["2 after 15 s"]);
    expect(await new End(2, 0).pass(60, ["2"])).toEqual(["1 after 45 s"]);
  });

  test("two ends that send through different ones do not end both", async () => {
    const [one, two] = [new End(0, 0), new End(0, 0)];
    expect(await one.pass(40, ["1"])).toEqual(["2 after 15 s"]);
    expect(await two.pass(40, ["2"])).toEqual([]);
    expect(await new End(undefined, 0, 0).pass(40, ["3"])).toEqual([]);
  });

  test("none ends if charon does not count packets", async () => {
    const clock = new FakeClock();
    const redundant = new RedundantAssociations(clock);
    const associations = [90, 40].map((ageSeconds, i) => ({
      uniqueId: String(i),
      initiatorSpi: String(i),
      isUnanswered: false,
      ageSeconds,
      packetsIn: NaN,
      settledChildren: [],
    }));
    for (let look = 0; look < 20; look++) {
      expect(redundant.find([{ isUp: true, isTrying: false, isBusy: false, associations }]))
        .toEqual(
          [],
        );
      await clock.advance(5000);
    }
  });
});

test("an association without a tunnel stays, and so does a single tunnel", async () => {
  expect(await new End(undefined, 40).pass(300, [])).toEqual([]);
  expect(await new End(40).pass(300, [])).toEqual([]);
});
