import { expect, test } from "bun:test";
import type { Prefix } from "../../../src/addr/prefix.ts";
import {
  type FirewallManager,
  type FirewallManagerOptions,
  startFirewallManager,
} from "../../../src/firewall/firewall_manager.ts";
import type { FamilyRules } from "../../../src/firewall/rules/firewall_rules.ts";
import {
  type EnsureRequest,
  FirewallError,
  type RuleTarget,
  UnreadableTableError,
} from "../../../src/firewall/rules/rule_target.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { NETWORK4, NETWORK6, rulesFor } from "./fixtures.ts";

/** A target in memory that does not announce changes. */
class MemoryTarget implements RuleTarget {
  readonly name = "memory";
  readonly kind = "iptables-legacy";
  readonly announcesChanges = false;
  readonly requests: EnsureRequest[] = [];
  readonly held = new Map<number, FamilyRules>();
  /** Thrown by the next reads, once each. */
  readonly failures: Error[] = [];
  /** A request of a family waits for its promise. */
  readonly waits = new Map<number, Promise<void>>();
  isDisposed = false;

  async ensure(request: EnsureRequest): Promise<boolean> {
    this.requests.push(request);
    request.onRead?.();
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    const { family, rules } = request;
    await this.waits.get(family);
    const hasChanged = JSON.stringify(this.held.get(family)) !== JSON.stringify(rules);
    if (rules === undefined) this.held.delete(family);
    else this.held.set(family, rules);
    return hasChanged;
  }

  concerns(): boolean {
    return true;
  }

  [Symbol.dispose](): void {
    this.isDisposed = true;
  }
}

interface SetUp extends AsyncDisposable {
  readonly clock: FakeClock;
  readonly target: MemoryTarget;
  readonly records: readonly LogRecord[];
  readonly firewall: FirewallManager;
  /** The messages of a level. */
  messages(level: LogRecord["level"]): string[];
}

async function setUp(options: Partial<FirewallManagerOptions> = {}): Promise<SetUp> {
  const target = new MemoryTarget();
  const clock = new FakeClock();
  const { log, records } = collectingLog();
  const firewall = await startFirewallManager({ target, resyncMs: 5000, clock, log, ...options });
  return {
    clock,
    target,
    records,
    firewall,
    messages: (level) => records.filter((record) => record.level === level).map(({ msg }) => msg),
    [Symbol.asyncDispose]: () => firewall[Symbol.asyncDispose](),
  };
}

/** The rules are installed. */
async function installed(options: Partial<FirewallManagerOptions> = {}): Promise<SetUp> {
  const all = await setUp(options);
  all.firewall.setRules(rulesFor());
  await all.clock.advance(0);
  await all.firewall.whenInstalled();
  return all;
}

test("whenInstalled() waits for the rules of each enabled family", async () => {
  await using all = await setUp();
  const { firewall, clock, target } = all;
  expect(firewall.status()).toEqual({ isInSync: false });
  let isInstalled = false;
  const waiting = firewall.whenInstalled().then(() => isInstalled = true);
  const ipv6 = Promise.withResolvers<void>();
  target.waits.set(6, ipv6.promise);
  firewall.setRules(rulesFor());
  await clock.advance(0);
  expect([...target.held.keys()]).toEqual([4]);
  expect(isInstalled).toBe(false);
  ipv6.resolve();
  await waiting;
  expect(firewall.status()).toEqual({ isInSync: true });
  expect([...target.held.keys()]).toEqual([4, 6]);
  expect(all.messages("info")).toEqual([
    "installed the IPv4 firewall rules in memory",
    "installed the IPv6 firewall rules in memory",
  ]);
});

test("whenInstalled() ends with the signal's reason", async () => {
  await using all = await setUp();
  const stop = new AbortController();
  const waiting = all.firewall.whenInstalled(stop.signal);
  stop.abort(new Error("stopping"));
  await expect(waiting).rejects.toThrow("stopping");
});

test("rules are recognized as ours by current and previous networks", async () => {
  const previousNetworks = ["10.77.0.0/16" as Prefix];
  await using all = await installed({ previousNetworks });
  expect(all.target.requests[0]?.networks).toEqual([...previousNetworks, NETWORK4, NETWORK6]);
});

test("rules of the previous run are removed from a family that is not in use", async () => {
  await using all = await setUp();
  const { 4: ipv4 } = rulesFor();
  all.target.held.set(6, rulesFor()[6] as FamilyRules);
  all.firewall.setRules({ ...(ipv4 && { 4: ipv4 }) });
  await all.clock.advance(0);
  await all.firewall.whenInstalled();
  expect([...all.target.held.keys()]).toEqual([4]);
});

test("a family that cannot be cleaned, for example without IPv6, is no problem", async () => {
  await using all = await setUp();
  const { 4: ipv4 } = rulesFor();
  const ensure = all.target.ensure.bind(all.target);
  all.target.ensure = (request) =>
    request.family === 6 ? Promise.reject(new FirewallError("no IPv6")) : ensure(request);
  all.firewall.setRules({ ...(ipv4 && { 4: ipv4 }) });
  await all.clock.advance(0);
  await all.firewall.whenInstalled();
  expect(all.firewall.status()).toEqual({ isInSync: true });
  expect(all.messages("debug")).toEqual([
    "cannot check memory for IPv6 rules of the previous run: no IPv6",
  ]);
});

test("rules that are set while old ones are removed are installed", async () => {
  await using all = await setUp();
  const { 4: ipv4 } = rulesFor();
  const removal = Promise.withResolvers<void>();
  all.target.waits.set(6, removal.promise);
  all.firewall.setRules({ ...(ipv4 && { 4: ipv4 }) });
  await all.clock.advance(0);
  all.firewall.setRules(rulesFor());
  removal.resolve();
  await all.clock.advance(1000);
  expect([...all.target.held.keys()]).toEqual([4, 6]);
  expect(all.firewall.status()).toEqual({ isInSync: true });
});

test("the unused target is cleaned only after the rules are installed", async () => {
  const order: string[] = [];
  const unusedTarget = new MemoryTarget();
  await using all = await setUp({ unusedTarget });
  for (const [name, target] of [["used", all.target], ["unused", unusedTarget]] as const) {
    const ensure = target.ensure.bind(target);
    target.ensure = (request) => (order.push(`${name} ${request.family}`), ensure(request));
  }
  all.firewall.setRules(rulesFor());
  await all.clock.advance(0);
  await all.firewall.whenInstalled();
  expect(order).toEqual(["used 4", "used 6", "unused 4", "unused 6"]);
});

test("cleaning an unused target is retried with the next three checks", async () => {
  const unusedTarget = new MemoryTarget();
  unusedTarget.ensure = () => Promise.reject(new FirewallError("it is locked"));
  await using all = await installed({ unusedTarget });
  await all.clock.advance(60_000);
  expect(all.messages("warn")).toEqual(
    new Array(3).fill("cannot remove the rules of the previous run from memory: it is locked"),
  );
  expect(all.firewall.status()).toEqual({ isInSync: true });
});

test("a failure is in the status, logged and retried after a second", async () => {
  await using all = await setUp();
  all.target.failures.push(new FirewallError("the lock is held"));
  all.firewall.setRules(rulesFor());
  await all.clock.advance(999);
  expect(all.firewall.status()).toEqual({ isInSync: false, problem: "the lock is held" });
  expect(all.messages("error")).toEqual([
    "setting up the IPv4 firewall rules in memory failed: the lock is held",
  ]);
  await all.clock.advance(1);
  expect(all.firewall.status()).toEqual({ isInSync: true });
  expect(all.messages("info")).toContain(
    "setting up the IPv4 firewall rules in memory works again after 1 failure in 1 s",
  );
});

test("each change of the status is reported", async () => {
  const statuses: unknown[] = [];
  await using all = await setUp({ onStatus: (status) => statuses.push(status) });
  all.target.failures.push(new FirewallError("the lock is held"));
  all.firewall.setRules(rulesFor());
  await all.clock.advance(30_000);
  expect(statuses).toEqual([
    { isInSync: false, problem: "the lock is held" },
    { isInSync: true },
  ]);
});

test.each([4, 6] as const)(
  "an unreadable table of IPv%i is reported, delays nothing, and is checked again",
  async (unreadable) => {
    const unusedTarget = new MemoryTarget();
    await using all = await setUp({ unusedTarget });
    const { target, firewall, clock } = all;
    const ensure = target.ensure.bind(target);
    let problem: Error | undefined = new UnreadableTableError(
      "filter cannot be shown: unsupported",
      { kind: "unsupported" },
    );
    target.ensure = async (request) => {
      const hasChanged = await ensure(request);
      if (request.family === unreadable && problem !== undefined) throw problem;
      return hasChanged;
    };
    firewall.setRules(rulesFor());
    await clock.advance(0);
    await firewall.whenInstalled();
    expect(firewall.status()).toEqual({ isInSync: false, problem: problem.message });
    expect(target.held.get(4)?.masquerade[4]?.verdict).toBe("masquerade fully-random");
    expect(unusedTarget.requests.map(({ family }) => family)).toEqual([unreadable === 4 ? 6 : 4]);
    problem = undefined;
    await clock.advance(5_200);
    expect(firewall.status()).toEqual({ isInSync: true });
    expect(all.messages("error")).toHaveLength(1);
    expect(unusedTarget.requests).toHaveLength(2);
  },
);

test("a target without random source ports gets rules without them", async () => {
  await using all = await setUp();
  const { target } = all;
  const ensure = target.ensure.bind(target);
  let attempts = 0;
  target.ensure = (request) => {
    const usesIt = request.rules?.masquerade.some(({ verdict }) =>
      verdict === "masquerade fully-random"
    );
    if (!usesIt) return ensure(request);
    attempts++;
    const message = `unknown option "--random-fully"`;
    return Promise.reject(new FirewallError(message, { kind: "unsupported" }));
  };
  all.firewall.setRules(rulesFor());
  await all.clock.advance(0);
  await all.firewall.whenInstalled();
  expect(target.held.get(4)?.masquerade[4]?.verdict).toBe("masquerade");
  expect(target.held.get(6)?.masquerade[4]?.verdict).toBe("masquerade");
  expect(attempts).toBe(1);
  expect(all.messages("warn")).toEqual([
    'cannot masquerade with random source ports in memory: unknown option "--random-fully"; ' +
    "using predictable source ports",
  ]);
});

test("a target without notifications is checked periodically, families in turn", async () => {
  await using all = await installed();
  const { target, clock } = all;
  target.requests.length = 0;
  target.held.clear();
  await clock.advance(10_100);
  expect(target.requests.map(({ family }) => family)).toEqual([4, 6]);
  expect([...target.held.keys()]).toEqual([4, 6]);
  expect(all.messages("warn")).toEqual([
    "the IPv4 firewall rules in memory were modified by another program; restored",
    "the IPv6 firewall rules in memory were modified by another program; restored",
  ]);
});

test("the period of checks is a second at least", async () => {
  await using all = await installed({ resyncMs: 1 });
  all.target.requests.length = 0;
  await all.clock.advance(10_100);
  expect(all.target.requests).toHaveLength(10);
});

test("repairs are damped while another program keeps modifying the rules", async () => {
  await using all = await installed({ resyncMs: 1000 });
  const { target, clock } = all;
  // Each second, one of the two families is checked.
  for (let second = 0; second < 50; second++) {
    target.held.clear();
    await clock.advance(1000);
  }
  const warnings = all.messages("warn");
  expect(warnings).toHaveLength(30);
  expect(warnings.at(-1)?.replace("IPv6", "IPv4")).toBe(
    "another program keeps modifying the IPv4 firewall rules in memory; from now on, repairs are " +
      "delayed, by up to 10 s",
  );
  await clock.advance(10_000);
  target.requests.length = 0;
  for (let second = 0; second < 60; second++) {
    target.held.clear();
    await clock.advance(1000);
  }
  // Once for each family in about ten seconds, and no more warnings.
  expect(target.requests.length).toBeGreaterThanOrEqual(8);
  expect(target.requests.length).toBeLessThanOrEqual(18);
  expect(all.messages("warn")).toHaveLength(30);
});

test("while one family's repairs are damped, the other family is repaired at once", async () => {
  await using all = await installed({ resyncMs: 1000 });
  const { target, clock } = all;
  for (let second = 0; second < 60; second++) {
    target.held.delete(4);
    await clock.advance(1000);
  }
  expect(all.messages("warn").at(-1)).toContain("keeps modifying the IPv4 firewall rules");
  target.held.clear();
  await clock.advance(2100);
  expect([...target.held.keys()]).toContain(6);
  expect(all.messages("warn").at(-1)).toBe(
    "the IPv6 firewall rules in memory were modified by another program; restored",
  );
});

test("new rules do not wait for a damped repair", async () => {
  await using all = await installed({ resyncMs: 1000 });
  const { target, clock, firewall } = all;
  for (let second = 0; second < 60; second++) {
    target.held.clear();
    await clock.advance(1000);
  }
  target.held.clear();
  target.requests.length = 0;
  firewall.setRules(rulesFor());
  await clock.advance(200);
  expect([...target.held.keys()].sort()).toEqual([4, 6]);
});

test("disposing leaves the rules and ends the checks", async () => {
  const all = await installed();
  const { target, firewall, clock } = all;
  await firewall[Symbol.asyncDispose]();
  const requests = target.requests.length;
  await clock.advance(60_000);
  expect(target.requests.length).toBe(requests);
  expect(target.held.size).toBe(2);
  expect(target.isDisposed).toBe(true);
});
