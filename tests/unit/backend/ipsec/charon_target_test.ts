/** Which requests charon gets and when; the fake responds when the test wants. */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CharonTarget } from "../../../../src/backend/ipsec/charon_target.ts";
import { connectCharon } from "../../../../src/backend/ipsec/charon.ts";
import { SOCKET_VARIABLE } from "../../../../src/backend/ipsec/charon_paths.ts";
import { connectionOf } from "../../../../src/backend/ipsec/charon_connection.ts";
import { EspCheck } from "../../../../src/backend/ipsec/esp_check.ts";
import type { XfrmStates } from "../../../../src/kernel/xfrm/xfrm_states.ts";
import { type Clock, systemClock } from "../../../../src/base/clock.ts";
import { FakeCharon } from "../../../support/fake_charon.ts";
import { FakeClock, settle } from "../../../support/fake_clock.ts";
import { FakeXfrmStates } from "../../../support/fake_xfrm_states.ts";
import { external, ip, lease, prefix, warningsLog } from "../../../support/sample_network.ts";

const directory = mkdtempSync(join(tmpdir(), "charon-target-"));
afterAll(() => rmSync(directory, { recursive: true }));
const NETWORK = prefix("10.5.0.0/16");
const PEER = lease(2, "ipsec", [4]);
const own = ip("192.168.0.1");
const CONNECTION = connectionOf(
  { publicAddress: own, localAddress: own, subnet: prefix("10.5.1.0/24") },
  { publicAddress: ip("192.168.0.2"), subnet: prefix("10.5.2.0/24") },
  { network: NETWORK, psk: "secret", udpEncapsulation: false, espProposal: "aes" },
);

async function targetOf(
  { path }: FakeCharon,
  clock: Clock = systemClock,
  states: XfrmStates = new FakeXfrmStates(),
): Promise<CharonTarget> {
  const log = warningsLog();
  const charon = {
    runDirectory: directory,
    env: { [SOCKET_VARIABLE]: path },
    clock: systemClock,
    log,
  };
  return new CharonTarget({
    charon,
    claim: { [Symbol.dispose]: () => undefined },
    esp: new EspCheck({ family: 4, states, clock, log }),
    first: await connectCharon(charon, new AbortController().signal),
    network: NETWORK,
    states,
    connection: () => CONNECTION,
    clock,
    log,
  });
}

/** Both ends of the sockets are in this process: data under way arrives within a few turns. */
async function socketsSettle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await settle();
}

const INPUT = { own: lease(1, "ipsec", [4]), external: external([4]) };
const TUNNEL = {
  [CONNECTION.name]: {
    uniqueid: "1",
    state: "ESTABLISHED",
    "child-sas": { child: { state: "INSTALLED", "install-time": "100" } },
  },
};

test("a tunnel of the previous run stays when its peer is added during a check", async () => {
  using charon = new FakeCharon(join(directory, "moment"));
  charon.conns.add(CONNECTION.name);
  charon.associations = [TUNNEL];
  await using target = await targetOf(charon);
  const settled = Promise.withResolvers<void>();
  charon.onCall = ({ command }) => {
    if (command !== "list-conns") return;
    charon.onCall = undefined;
    target.put(PEER);
    target.allowSweep();
    target.whenSettled().then(settled.resolve);
  };
  await target.start(INPUT);
  await settled.promise;
  const changes = charon.takeChanges();
  expect(changes).toContain(`load-conn ${CONNECTION.name}`);
  expect(changes.filter((change) => /^(unload-conn|terminate) 1/.test(change))).toEqual([]);
});

test("a bug that shows at one tunnel ends nothing, and the check is retried", async () => {
  using charon = new FakeCharon(join(directory, "fault"));
  const child = { state: "INSTALLED", "install-time": "100", "spi-in": "c0ffee00" };
  charon.associations = [{
    [CONNECTION.name]: { ...TUNNEL[CONNECTION.name], "local-host": own, "child-sas": { child } },
  }];
  const clock = new FakeClock();
  let failures = 0;
  const states = new FakeXfrmStates();
  states.lacks = () => {
    failures++;
    throw new TypeError("undefined is not an object");
  };
  await using target = await targetOf(charon, clock, states);
  await target.start(INPUT);
  target.put(PEER);
  for (let second = 0; second < 60 && failures < 3; second++) {
    await socketsSettle();
    await clock.advance(1000);
  }
  expect(failures).toBe(3);
});

test("charon is asked for all tunnels rarely, and for one when it reports a change", async () => {
  using charon = new FakeCharon(join(directory, "events"));
  charon.associations = [TUNNEL];
  const clock = new FakeClock();
  await using target = await targetOf(charon, clock);
  const asked = async (seconds: number) => {
    for (let second = 0; second < seconds; second += 5) {
      await clock.advance(5000);
      await socketsSettle();
    }
    return charon.takeQuestions("list-sas").map(({ ike }) => ike ?? "all");
  };
  target.put(PEER);
  await target.start(INPUT);
  await target.whenSettled();
  expect(await asked(30)).toEqual(["all"]);
  target.allowSweep();
  expect(await asked(30)).toEqual(["all"]);
  charon.onCall = ({ event }) => {
    charon.onCall = undefined;
    event("child-updown", { up: "yes", ...TUNNEL });
    event("child-updown", { up: "yes", office: {} });
  };
  expect(await asked(30)).toEqual([CONNECTION.name]);
  expect(await asked(300)).toEqual(["all"]);
});

test.each([["few", 1, 5], ["many", 2100, 60]])(
  "with %s connections (%i), charon is asked for their names every %i s",
  async (_howMany, count, seconds) => {
    using charon = new FakeCharon(join(directory, `size-${count}`));
    for (let n = 0; n < count; n++) charon.conns.add(`others-${n}-`.padEnd(200, "x"));
    const clock = new FakeClock();
    await using target = await targetOf(charon, clock);
    const asked = () =>
      charon.server.calls.filter(([command]) => command.endsWith("-conns")).length;
    const pass = () => {
      target.put(PEER);
      return target.whenSettled();
    };
    await target.start(INPUT);
    await pass();
    for (let times = 1; times <= 3; times++) {
      await clock.advance(seconds * 1000 - 1);
      await pass();
      expect(asked()).toBe(times);
      await clock.advance(1);
      await pass();
      expect(asked()).toBe(times + 1);
    }
  },
);

test("charon is asked for tunnels whose states are deleted, or for all", async () => {
  using charon = new FakeCharon(join(directory, "states"));
  charon.associations = [TUNNEL];
  const clock = new FakeClock();
  const states = new FakeXfrmStates();
  {
    await using target = await targetOf(charon, clock, states);
    const asked = async () => {
      await socketsSettle(); // for it to set its timer
      await clock.advance(1000);
      await socketsSettle();
      return charon.takeQuestions("list-sas").map(({ ike }) => ike ?? "all");
    };
    await target.start(INPUT);
    target.put(PEER);
    await target.whenSettled();
    expect(await asked()).toEqual(["all"]);
    expect(await asked()).toEqual([]);
    states.reportDeleted({ source: own, destination: ip("192.168.0.3") });
    expect(await asked()).toEqual([]);
    states.reportDeleted({ source: own, destination: ip("192.168.0.2") });
    states.reportDeleted({ source: ip("192.168.0.2"), destination: own });
    expect(await asked()).toEqual([CONNECTION.name]);
    states.reportDeleted(undefined);
    expect(await asked()).toEqual(["all"]);
    expect(states.isWatched).toBe(true);
    expect(states.isDisposed).toBe(false);
  }
  expect(states.isWatched).toBe(false);
  expect(states.isDisposed).toBe(true);
});

test("a kernel without ESP is a problem until it has it, and is queried periodically", async () => {
  using charon = new FakeCharon(join(directory, "esp"));
  const states = new FakeXfrmStates();
  states.hasEsp = false;
  const clock = new FakeClock();
  await using target = await targetOf(charon, clock, states);
  const problem = "this kernel has no ESP for IPv4, packets to other nodes are dropped: load its " +
    'module with "modprobe -a xfrm_user esp4" (some distributions have it in a package of extra ' +
    "modules, such as linux-modules-extra)";
  for (let times = 0; times < 3; times++) expect(target.problems()).toEqual([problem]);
  expect(states.espQueries).toBe(1);
  target.put(PEER);
  await target.start(INPUT);
  await clock.advance(60_000); // No tunnel to any peer: for the same reason.
  expect(target.problems()).toEqual([problem]);
  states.hasEsp = true;
  await clock.advance(5000);
  expect(target.problems()).not.toContain(problem);
  const asked = states.espQueries;
  await clock.advance(60_000);
  target.problems();
  expect(states.espQueries).toBe(asked);
});

test("a lost connection is a problem until charon has all connections again", async () => {
  using charon = new FakeCharon(join(directory, "lost"));
  const clock = new FakeClock(() => 0);
  await using target = await targetOf(charon, clock);
  await target.start(INPUT);
  target.put(PEER);
  await target.whenSettled();
  await socketsSettle(); // for it to set its timer
  charon.takeChanges();
  charon.onCall = ({ hangUp }) => {
    charon.onCall = undefined;
    charon.conns.clear();
    hangUp();
  };
  await clock.advance(1000); // The tunnel is down, so charon is asked soon.
  await socketsSettle();
  const lost = "the connection to charon is lost; its tunnels stay until they expire";
  expect(target.problems()).toContain(lost);
  expect(charon.takeChanges()).toEqual([]);
  await clock.advance(500);
  await socketsSettle();
  expect(charon.takeChanges()).toContain(`load-conn ${CONNECTION.name}`);
  expect(target.problems()).not.toContain(lost);
});

test("a charon that does not come back is a problem, and nothing waits for it", async () => {
  const charon = new FakeCharon(join(directory, "gone"));
  const clock = new FakeClock(() => 0);
  await using target = await targetOf(charon, clock);
  await target.start(INPUT);
  await socketsSettle();
  charon[Symbol.dispose]();
  await socketsSettle();
  target.put(PEER);
  const settled = target.whenSettled();
  await clock.advance(500);
  await socketsSettle();
  await settled;
  expect(target.problems()[0]).toContain(`cannot connect to charon at ${charon.path}`);
});
