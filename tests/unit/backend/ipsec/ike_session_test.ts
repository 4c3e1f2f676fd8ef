/**
 * The requests to charon, and the reactions to its responses, in cases that are rare with a real
 * one.
 */

import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type CharonConnection,
  connectionOf,
} from "../../../../src/backend/ipsec/charon_connection.ts";
import { IkeSession } from "../../../../src/backend/ipsec/ike_session.ts";
import { TunnelWatch } from "../../../../src/backend/ipsec/tunnel_watch.ts";
import { systemClock } from "../../../../src/base/clock.ts";
import { Vici } from "../../../../src/backend/ipsec/vici.ts";
import type { XfrmStateId } from "../../../../src/kernel/xfrm/xfrm_states.ts";
import type { ViciMessage } from "../../../../src/backend/ipsec/vici_message.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeCharon } from "../../../support/fake_charon.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { ip, prefix, warningsLog } from "../../../support/sample_network.ts";

const directory = mkdtempSync(join(tmpdir(), "vici-session-"));
afterAll(() => rmSync(directory, { recursive: true }));
const NETWORK = prefix("10.5.0.0/16");
let sockets = 0;

function fakeCharon(): FakeCharon {
  return new FakeCharon(join(directory, String(sockets++)));
}

function connection(n: number, remote = `192.168.0.${n}`): CharonConnection {
  const own = ip("192.168.0.1");
  return connectionOf(
    { publicAddress: own, localAddress: own, subnet: prefix("10.5.1.0/24") },
    { publicAddress: ip(remote), subnet: prefix(`10.5.${n}.0/24`) },
    { network: NETWORK, psk: "secret", udpEncapsulation: false, espProposal: "aes" },
  );
}

function wanted(...connections: CharonConnection[]): Map<string, CharonConnection> {
  return new Map(connections.map((one) => [one.name, one]));
}

/** One of the associations of a connection, with tunnels of these ages and 7 packets each. */
function association(of: CharonConnection, uniqueid: string, ...ages: number[]): ViciMessage {
  const children = ages.map((age, i) => [`child-${i}`, {
    state: "INSTALLED",
    "install-time": String(age),
    "packets-in": "7",
    uniqueid: `${uniqueid}${i}`,
    "spi-in": uniqueid.padStart(8, "0"),
    "spi-out": `c${uniqueid.padStart(7, "0")}`,
  }]);
  return {
    [of.name]: {
      uniqueid,
      state: "ESTABLISHED",
      "local-host": "192.168.0.1",
      "remote-host": of.remote.publicAddress,
      "initiator-spi": `00000000000000a${uniqueid}`,
      "responder-spi": "00000000000000b1",
      "child-sas": Object.fromEntries(children),
    },
  };
}

/** Sets the state of the first tunnel of an association. */
function setChildState(of: ViciMessage, state: string): void {
  const [message] = Object.values(of) as [{ "child-sas": Record<string, { state: string }> }];
  const [child] = Object.values(message["child-sas"]);
  if (child === undefined) throw new Error("it has no tunnel");
  child.state = state;
}

/** One that this end has initiated, without a response of the peer. */
function connecting(of: CharonConnection): ViciMessage {
  return {
    [of.name]: {
      uniqueid: "9",
      state: "CONNECTING",
      initiator: "yes",
      "initiator-spi": "00000000000000a9",
      "responder-spi": "0000000000000000",
      "child-sas": {},
    },
  };
}

async function session(charon: FakeCharon): Promise<Disposable & { session: IkeSession }> {
  const vici = await Vici.connect(charon.path, systemClock);
  return { session: new IkeSession(vici, NETWORK), [Symbol.dispose]: () => vici[Symbol.dispose]() };
}

describe("a session with charon", () => {
  const [two, three] = [connection(2), connection(3)];

  test("loads the wanted connections, once", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    await s.session.sync(wanted(two), { maySweep: false, isThorough: true });
    expect(charon.takeChanges()).toEqual([`load-shared ${two.secretId}`, `load-conn ${two.name}`]);
    await s.session.sync(wanted(two, three), { maySweep: false, isThorough: true });
    expect(charon.takeChanges()).toEqual([
      `load-shared ${three.secretId}`,
      `load-conn ${three.name}`,
    ]);
    await s.session.sync(wanted(two, three), { maySweep: true, isThorough: true });
    expect(charon.takeChanges()).toEqual([]);
  });

  test("requests connections one by one if one response may not have room for all", async () => {
    using charon = fakeCharon();
    // With three bytes more each, 73 less than 384 KiB: one of ours fits, two do not.
    charon.conns.add("others".padEnd(160, "x"));
    for (let n = 0; n < 2005; n++) charon.conns.add(`others-${n}-`.padEnd(193, "x"));
    charon.conns.add(two.name);
    using s = await session(charon);
    const questions = async (...connections: CharonConnection[]) => {
      charon.server.calls.length = 0;
      await s.session.sync(wanted(...connections), { maySweep: true, isThorough: true });
      const commands = charon.server.calls.map(([command]) => command);
      return commands.filter((command) => command.endsWith("-conns"));
    };
    expect(await questions()).toEqual(["list-conns"]); // The connections are not known yet.
    expect(charon.conns.has(two.name)).toBe(false);
    expect(await questions(two, three)).toEqual(["get-conns"]);
    expect(await questions(two, three)).toEqual(["list-conns"]);
    expect(charon.conns.size).toBe(2008);
  });

  test("loads a connection again that another program has unloaded", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    await s.session.sync(wanted(two, three), { maySweep: true, isThorough: true });
    charon.takeChanges();
    charon.conns.delete(two.name);
    await s.session.sync(wanted(two, three), { maySweep: true, isThorough: true });
    expect(charon.takeChanges()).toEqual([`load-shared ${two.secretId}`, `load-conn ${two.name}`]);
  });

  test("keeps earlier connections until it may sweep, and foreign ones always", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    const stale = connection(9);
    const foreign = ["office", "192.168.0.1-10.6.1.0/24-10.6.2.0/24-192.168.0.2"];
    for (const name of [stale.name, ...foreign]) charon.conns.add(name);
    for (const id of [stale.secretId, "office", "flannel-10.6.0.0/16-192.168.0.2"]) {
      charon.keys.add(id);
    }
    await s.session.sync(wanted(), { maySweep: false, isThorough: true });
    expect(charon.takeChanges()).toEqual([]);
    await s.session.sync(wanted(), { maySweep: true, isThorough: false });
    expect(charon.takeChanges()).toEqual([
      `unload-conn ${stale.name}`,
      `terminate ${stale.name}`,
      `unload-shared ${stale.secretId}`,
    ]);
    expect([...charon.conns]).toEqual(foreign);
    expect([...charon.keys]).toEqual(["office", "flannel-10.6.0.0/16-192.168.0.2"]);
  });

  test("reads connections only if thorough, and keys also if one may be stale", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    const questions = async (isThorough: boolean, ...connections: CharonConnection[]) => {
      await s.session.sync(wanted(...connections), { maySweep: true, isThorough });
      const commands = charon.server.calls.map(([command]) => command);
      charon.server.calls.length = 0;
      return commands;
    };
    expect(await questions(false, two)).toContain("list-conns"); // None is known yet.
    expect(await questions(false, two)).toEqual([]);
    expect(await questions(false, two, three)).toEqual(["load-shared", "load-conn"]);
    expect(await questions(false, two)).toEqual([
      "unload-conn",
      "terminate",
      "get-shared",
      "unload-shared",
    ]);
    expect(await questions(false, two)).toEqual([]);
    expect(await questions(true, two)).toEqual(["get-conns", "get-shared"]);
  });

  test("ends the old connection of a peer with a new address, even without a sweep", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    await s.session.sync(wanted(two), { maySweep: false, isThorough: true });
    charon.takeChanges();
    const moved = connection(2, "192.168.0.22");
    await s.session.sync(wanted(moved), { maySweep: false, isThorough: true });
    expect(charon.takeChanges()).toEqual([
      `unload-conn ${two.name}`,
      `terminate ${two.name}`,
      `load-shared ${moved.secretId}`,
      `load-conn ${moved.name}`,
    ]);
  });

  test("reports connections that charon refuses, and retries them", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    charon.refuse = two.name;
    await s.session.sync(wanted(two, three), { maySweep: true, isThorough: true });
    expect([...s.session.refused]).toEqual([[two.name, "charon refused load-conn: no"]]);
    expect([...charon.conns]).toEqual([three.name]);
    charon.refuse = undefined;
    await s.session.sync(wanted(two, three), { maySweep: true, isThorough: true });
    expect([...s.session.refused]).toEqual([]);
    expect(charon.conns.has(two.name)).toBe(true);
  });

  test("forgets the refusal of a peer that has left", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    charon.refuse = two.name;
    await s.session.sync(wanted(two), { maySweep: true, isThorough: true });
    await s.session.sync(wanted(), { maySweep: true, isThorough: true });
    expect([...s.session.refused]).toEqual([]);
  });

  test("combines the state of a connection from all its associations", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    charon.associations = [
      association(two, "1", 3000, 40),
      connecting(two),
      association(three, "2"),
    ];
    const tunnels = await s.session.tunnels();
    expect(tunnels.get(two.name)).toEqual({
      isUp: true,
      isTrying: true,
      isBusy: false,
      associations: [
        {
          uniqueId: "1",
          initiatorSpi: "00000000000000a1",
          isUnanswered: false,
          ageSeconds: 40,
          packetsIn: 14,
          settledChildren: ["10", "11"].map((uniqueId) => ({
            uniqueId,
            states: [
              { destination: ip("192.168.0.1"), spi: 1 },
              { destination: ip("192.168.0.2"), spi: 0xc000_0001 },
            ],
          })),
        },
        {
          uniqueId: "9",
          initiatorSpi: "00000000000000a9",
          isUnanswered: true,
          ageSeconds: undefined,
          packetsIn: 0,
          settledChildren: [],
        },
      ],
    });
    expect(tunnels.get(three.name)).toMatchObject({ isUp: false, isTrying: false });
  });
});

describe("the tunnel watch", () => {
  const [two, three] = [connection(2), connection(3)];
  const clock = new FakeClock();
  let log = warningsLog();
  /** States that are missing in the kernel, by destination and SPI. */
  const absent = new Set<string>();
  const states = {
    lacks: ({ destination, spi }: XfrmStateId) => absent.has(`${destination} ${spi.toString(16)}`),
  };
  let watch = new TunnelWatch({ clock, log, states });
  beforeEach(() => {
    log = warningsLog();
    absent.clear();
    watch = new TunnelWatch({ clock, log, states });
  });

  test("initiates a tunnel that charon has given up, not one that is missing once", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    expect(await watch.check(s.session, wanted(two), { maySweep: true, isFull: true })).toBe(true);
    expect(charon.takeChanges()).toEqual([]);
    await clock.advance(1000);
    expect(await watch.check(s.session, wanted(two), { maySweep: true, isFull: true })).toBe(false);
    expect(charon.takeChanges()).toEqual([`initiate ${two.name}`]);
    charon.associations = [association(two, "1", 1)];
    await clock.advance(60_000);
    await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
    expect(charon.takeChanges()).toEqual([]);
  });

  test("initiates it at growing intervals, and never while charon tries", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    const attempts: number[] = [];
    for (let second = 0; second < 300; second++) {
      // An association without a tunnel does not lead to one.
      charon.associations = [association(two, "1")];
      if (second >= 100 && second < 200) charon.associations = [connecting(two)];
      await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
      if (charon.takeChanges().length > 0) attempts.push(second);
      await clock.advance(1000);
    }
    expect(attempts.length).toBeGreaterThan(6);
    expect(attempts.length).toBeLessThan(16);
    expect(attempts.filter((second) => second >= 100 && second < 200)).toEqual([]);
    expect(attempts.some((second) => second >= 200)).toBe(true);
  });

  test("ends a second association without a response if there is a first one", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    charon.associations = [connecting(two)];
    await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
    expect(charon.takeChanges()).toEqual([]);
    charon.associations = [connecting(two), association(two, "1", 0)];
    await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
    expect(charon.takeChanges()).toEqual(["terminate 9"]);
  });

  test("ends tunnels without a peer once it may sweep, and stops counting them", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    charon.associations = [
      association(two, "1", 90),
      association(three, "3", 90),
      connecting(three),
    ];
    await watch.check(s.session, wanted(two), { maySweep: false, isFull: true });
    expect(charon.takeChanges()).toEqual([]);
    await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
    expect(charon.takeChanges()).toEqual([`terminate ${three.name}`]);
  });

  test("reports a peer once, and the node as cut off only without any tunnel", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    const both = wanted(two, three);
    charon.associations = [association(two, "1"), association(three, "2", 5)];
    await watch.check(s.session, both, { maySweep: true, isFull: true });
    await clock.advance(31_000);
    await watch.check(s.session, both, { maySweep: true, isFull: true });
    await watch.check(s.session, both, { maySweep: true, isFull: true });
    expect(log.lines).toEqual(["no tunnel to 10.5.2.0/24 at 192.168.0.2 for 30 s; still trying"]);
    expect(watch.problem()).toBeUndefined();
    charon.associations = [];
    await watch.check(s.session, both, { maySweep: true, isFull: true });
    expect(watch.problem()).toBeUndefined();
    await clock.advance(31_000);
    await watch.check(s.session, both, { maySweep: true, isFull: true });
    expect(watch.problem()).toStartWith("no IPsec tunnel to any of the 2 peers for 30 s or more");
    charon.associations = [association(two, "1", 0)];
    await watch.check(s.session, both, { maySweep: true, isFull: true });
    expect(watch.problem()).toBeUndefined();
  });

  test("reports many peers in one line, when they go down and when they come up", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    const { log, records } = collectingLog();
    const watch = new TunnelWatch({ clock, log, states });
    const five = [2, 3, 4, 5, 6].map((n) => connection(n));
    const check = () => watch.check(s.session, wanted(...five), { maySweep: true, isFull: true });
    await check();
    await clock.advance(31_000);
    await check();
    charon.associations = five.slice(2).map((one, i) => association(one, String(i), 0));
    await check();
    const all =
      "10.5.2.0/24 at 192.168.0.2, 10.5.3.0/24 at 192.168.0.3, 10.5.4.0/24 at 192.168.0.4";
    const back =
      "10.5.4.0/24 at 192.168.0.4, 10.5.5.0/24 at 192.168.0.5, 10.5.6.0/24 at 192.168.0.6";
    expect(records.map(({ msg }) => msg)).toEqual([
      `no tunnel to 5 peers (${all}, …) for 30 s; still trying`,
      `the tunnels to 3 peers (${back}) are up`,
    ]);
  });

  test("does not check soon for a peer that is down for long, even if charon tries", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    charon.associations = [association(two, "1", 5), connecting(three)];
    expect(await watch.check(s.session, wanted(two, three), { maySweep: true, isFull: true })).toBe(
      true,
    );
    await clock.advance(29_000);
    expect(await watch.check(s.session, wanted(two, three), { maySweep: true, isFull: true })).toBe(
      true,
    );
    await clock.advance(2000);
    expect(await watch.check(s.session, wanted(two, three), { maySweep: true, isFull: true })).toBe(
      false,
    );
  });

  describe("requests only doubtful tunnels:", () => {
    const asked = (charon: FakeCharon) =>
      charon.takeQuestions("list-sas").map(({ ike }) => ike ?? "all");
    const check = async (
      s: { session: IkeSession },
      connections: CharonConnection[],
      isFull = false,
    ) => {
      await watch.check(s.session, wanted(...connections), { maySweep: true, isFull });
    };

    test("those that are down, have several associations, or have changed", async () => {
      using charon = fakeCharon();
      using s = await session(charon);
      const four = connection(4);
      charon.associations = [
        association(two, "1", 9),
        association(three, "2", 9),
        association(three, "3", 9),
      ];
      await check(s, [two, three, four], true);
      expect(asked(charon)).toEqual(["all"]);
      await check(s, [two, three, four]);
      expect(asked(charon)).toEqual([three.name, four.name]);
      charon.associations.pop();
      charon.associations.push(association(four, "4", 1));
      await check(s, [two, three, four]);
      await check(s, [two, three, four]);
      expect(asked(charon)).toEqual([three.name, four.name]);
      watch.changed(two.name);
      await check(s, [two, three, four]);
      expect(asked(charon)).toEqual([two.name]);
    });

    test("a change during the response counts for the next check", async () => {
      using charon = fakeCharon();
      using s = await session(charon);
      charon.associations = [association(two, "1", 9)];
      charon.onCall = ({ command }) => {
        if (command === "list-sas") watch.changed(two.name);
      };
      await check(s, [two], true);
      charon.onCall = undefined;
      await check(s, [two]);
      await check(s, [two]);
      expect(asked(charon)).toEqual(["all", two.name]);
    });

    test("a tunnel without a peer that comes up is ended", async () => {
      using charon = fakeCharon();
      using s = await session(charon);
      await check(s, [], true);
      charon.associations = [association(two, "1", 0)];
      watch.changed(two.name);
      await check(s, []);
      expect(charon.takeChanges()).toEqual([`terminate ${two.name}`]);
    });

    test("all tunnels in one request if many are doubtful", async () => {
      using charon = fakeCharon();
      using s = await session(charon);
      const many = Array.from({ length: 17 }, (_, i) => connection(i + 10));
      await check(s, many);
      await check(s, many.slice(1));
      expect(asked(charon)).toEqual(["all", ...many.slice(1).map(({ name }) => name)]);
    });
  });

  describe("of a tunnel that the kernel has lost", () => {
    test.each([["in", "192.168.0.1 1"], ["out", "192.168.0.2 c0000001"]])(
      "the direction %s: it is restored, at growing intervals, and others are not touched",
      async (_way, state) => {
        using charon = fakeCharon();
        using s = await session(charon);
        const attempts: number[] = [];
        charon.associations = [association(two, "1", 9), association(three, "2", 9)];
        absent.add(state);
        for (let second = 0; second < 100; second++) {
          await watch.check(s.session, wanted(two, three), {
            maySweep: true,
            isFull: second === 0,
          });
          const changes = charon.takeChanges();
          if (changes.length > 0) attempts.push(second);
          for (const change of changes) expect(change).toBe("rekey 10");
          await clock.advance(1000);
        }
        // Each interval is random by half: at least 5, 10, 20 and 40 s, at most twice that.
        expect(attempts[0]).toBe(0);
        expect(attempts.length).toBeWithin(4, 6);
        expect(attempts[1]).toBeWithin(5, 11);
        expect(log.lines[0]).toBe(
          "the kernel has lost the tunnel to 10.5.2.0/24 at 192.168.0.2; restoring it",
        );
        charon.associations = [association(two, "3", 0), association(three, "2", 9)];
        for (let second = 0; second < 30; second++) {
          await watch.check(s.session, wanted(two, three), { maySweep: true, isFull: true });
          await clock.advance(1000);
        }
        expect(charon.takeChanges()).toEqual([]);
      },
    );

    test.each(["REKEYING", "REKEYED", "DELETING", "INSTALLING"])(
      "nothing is done while another one of the connection is %s",
      async (state) => {
        using charon = fakeCharon();
        using s = await session(charon);
        const both = association(two, "1", 9, 0);
        setChildState(both, state);
        charon.associations = [both];
        absent.add("192.168.0.2 c0000001");
        await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
        expect(charon.takeChanges()).toEqual([]);
      },
    );

    test("many of them are logged in one line, and a hundred are restored at a time", async () => {
      using charon = fakeCharon();
      using s = await session(charon);
      const many = Array.from({ length: 150 }, (_, i) => connection(i + 2));
      charon.associations = many.map((one, i) => association(one, String(i), 9));
      for (let i = 0; i < 150; i++) absent.add(`192.168.0.1 ${Number(`0x${i}`).toString(16)}`);
      const check = () => watch.check(s.session, wanted(...many), { maySweep: true, isFull: true });
      const rekeyed = () => charon.takeChanges().filter((change) => change.startsWith("rekey"));
      expect(await check()).toBe(true);
      const first = rekeyed();
      expect(first.length).toBe(100);
      expect(log.lines).toEqual([
        "the kernel has lost the tunnels to 150 peers (10.5.2.0/24 at 192.168.0.2, 10.5.3.0/24 " +
        "at 192.168.0.3, 10.5.4.0/24 at 192.168.0.4, …); restoring them",
      ]);
      // Seventy are still being restored, thirty are complete.
      charon.associations = many.map((one, i) =>
        association(one, String(i < 100 ? i + 200 : i), 9)
      );
      for (const one of charon.associations.slice(0, 70)) setChildState(one, "REKEYING");
      await clock.advance(1000);
      expect(await check()).toBe(true);
      const second = rekeyed();
      expect(second.length).toBe(30);
      // They take too long: others do not wait for them any more.
      await clock.advance(5000);
      expect(await check()).toBe(false);
      const third = rekeyed();
      expect(third.length).toBe(20);
      expect(new Set([...first, ...second, ...third]).size).toBe(150);
      expect(log.lines.length).toBe(1);
    });

    test("nothing is done if charon does not report its states", async () => {
      using charon = fakeCharon();
      using s = await session(charon);
      charon.associations = [{
        [two.name]: {
          uniqueid: "1",
          state: "ESTABLISHED",
          "child-sas": { child: { state: "INSTALLED", "install-time": "9" } },
        },
      }];
      absent.add("192.168.0.1 1");
      await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
      expect(charon.takeChanges()).toEqual([]);
    });
  });

  test("has no problem without peers", async () => {
    using charon = fakeCharon();
    using s = await session(charon);
    await watch.check(s.session, wanted(two), { maySweep: true, isFull: true });
    await clock.advance(31_000);
    expect(watch.problem()).toStartWith("no IPsec tunnel to the only peer");
    await watch.check(s.session, wanted(), { maySweep: true, isFull: true });
    expect(watch.problem()).toBeUndefined();
  });
});
