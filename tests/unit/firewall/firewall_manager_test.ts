import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import {
  type FirewallManagerOptions,
  manageFirewall,
} from "../../../src/firewall/firewall_manager.ts";
import type { FamilyRules } from "../../../src/firewall/rules/firewall_rules.ts";
import {
  type EnsureRequest,
  FirewallError,
  type RuleTarget,
  UnreadableTableError,
} from "../../../src/firewall/rules/rule_target.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { eventually } from "../../support/wait.ts";
import { NETWORK4, NETWORK6, rulesFor } from "./fixtures.ts";

/** A system in memory that announces nothing. */
class MemoryTarget implements RuleTarget {
  readonly name = "memory";
  readonly isWatched = false;
  readonly requests: EnsureRequest[] = [];
  readonly held = new Map<number, FamilyRules>();
  /** Thrown by the next look, once each. */
  readonly failures: Error[] = [];
  isDisposed = false;

  ensure(request: EnsureRequest): Promise<boolean> {
    this.requests.push(request);
    request.onRead?.();
    const failure = this.failures.shift();
    if (failure !== undefined) return Promise.reject(failure);
    const { family, rules } = request;
    const changed = JSON.stringify(this.held.get(family)) !== JSON.stringify(rules);
    if (rules === undefined) this.held.delete(family);
    else this.held.set(family, rules);
    return Promise.resolve(changed);
  }

  concerns(): boolean {
    return true;
  }

  [Symbol.dispose](): void {
    this.isDisposed = true;
  }
}

function setUp(options: Partial<FirewallManagerOptions> = {}) {
  const target = new MemoryTarget();
  const { log, records } = collectingLog();
  const manager = manageFirewall({ target, resyncMs: 1000, clock: systemClock, log, ...options });
  return { target, records, manager };
}

test("whenInstalled() waits for the rules of every enabled family", async () => {
  const { target, manager } = setUp();
  await using traffic = await manager;
  expect(traffic.status()).toEqual({ inSync: false });
  traffic.setRules(rulesFor());
  await traffic.whenInstalled();
  expect(traffic.status()).toEqual({ inSync: true });
  expect([...target.held.keys()]).toEqual([4, 6]);
});

test("whenInstalled() ends with the signal's reason", async () => {
  await using traffic = await setUp().manager;
  const stop = new AbortController();
  const waiting = traffic.whenInstalled(stop.signal);
  stop.abort(new Error("stopping"));
  await expect(waiting).rejects.toThrow("stopping");
});

test("rules are known as ours by present and former networks", async () => {
  const formerNetworks = ["10.77.0.0/16" as Prefix];
  const { target, manager } = setUp({ formerNetworks });
  await using traffic = await manager;
  traffic.setRules(rulesFor());
  await traffic.whenInstalled();
  expect(target.requests[0]?.networks).toEqual([...formerNetworks, NETWORK4, NETWORK6]);
});

test("a family that is not in use is cleared of former rules, and may fail in that", async () => {
  const { target, manager } = setUp();
  await using traffic = await manager;
  const { 4: ipv4 } = rulesFor();
  target.held.set(6, rulesFor()[6] as FamilyRules);
  traffic.setRules({ ...(ipv4 && { 4: ipv4 }) });
  await traffic.whenInstalled();
  expect([...target.held.keys()]).toEqual([4]);
});

test("the unused system is cleared only after the rules are in", async () => {
  const order: string[] = [];
  const unused = new MemoryTarget();
  const { target, manager } = setUp({ unused });
  for (const [name, system] of [["used", target], ["unused", unused]] as const) {
    const ensure = system.ensure.bind(system);
    system.ensure = (request) => (order.push(`${name} ${request.family}`), ensure(request));
  }
  await using traffic = await manager;
  traffic.setRules(rulesFor());
  await traffic.whenInstalled();
  expect(order).toEqual(["used 4", "used 6", "unused 4", "unused 6"]);
});

test("a failure is in the status, logged, and tried again", async () => {
  const { target, manager, records } = setUp();
  await using traffic = await manager;
  target.failures.push(new FirewallError("the lock is held"));
  // After a look at each family, the next one waits until the status has been read.
  const { promise: hasBeenRead, resolve: goOn } = Promise.withResolvers<void>();
  const ensure = target.ensure.bind(target);
  target.ensure = async (request) => {
    if (target.requests.length >= 2) await hasBeenRead;
    return await ensure(request);
  };
  traffic.setRules(rulesFor());
  await eventually("the failure", 20_000, () => traffic.status().problem === "the lock is held");
  expect(traffic.status().inSync).toBe(false);
  goOn();
  await traffic.whenInstalled(AbortSignal.timeout(20_000));
  expect(records.filter(({ level }) => level === "error")).toHaveLength(1);
});

test.each([4, 6] as const)(
  "an unreadable table of IPv%i is told, holds nothing up, and is looked at again",
  async (unreadable) => {
    const unused = new MemoryTarget();
    const { target, manager, records } = setUp({ unused });
    const ensure = target.ensure.bind(target);
    let problem: Error | undefined = new UnreadableTableError(
      "filter cannot be shown: unsupported",
    );
    target.ensure = async (request) => {
      const changed = await ensure(request);
      if (request.family === unreadable && problem !== undefined) throw problem;
      return changed;
    };
    await using traffic = await manager;
    traffic.setRules(rulesFor());
    await traffic.whenInstalled(AbortSignal.timeout(20_000));
    expect(traffic.status()).toEqual({ inSync: false, problem: problem.message });
    expect(target.held.get(4)?.masquerade[4]?.verdict).toBe("masquerade fully-random");
    expect(unused.requests.map(({ family }) => family)).toEqual([unreadable === 4 ? 6 : 4]);
    problem = undefined;
    await eventually("it is in sync", 20_000, () => traffic.status().inSync);
    expect(records.filter(({ level }) => level === "error")).toHaveLength(1);
    expect(unused.requests).toHaveLength(2);
  },
);

test("a system without random source ports gets rules without them", async () => {
  const { target, manager, records } = setUp();
  const ensure = target.ensure.bind(target);
  target.ensure = (request) =>
    request.rules?.masquerade.some(({ verdict }) => verdict === "masquerade fully-random")
      ? Promise.reject(new FirewallError(`unknown option "--random-fully"`))
      : ensure(request);
  await using traffic = await manager;
  traffic.setRules(rulesFor());
  await traffic.whenInstalled(AbortSignal.timeout(3000));
  expect(target.held.get(4)?.masquerade[4]?.verdict).toBe("masquerade");
  expect(records.filter(({ level }) => level === "warn")).toHaveLength(1);
});

test("a system that announces nothing is looked at once a period, families in turn", async () => {
  const { target, manager } = setUp();
  await using traffic = await manager;
  traffic.setRules(rulesFor());
  await traffic.whenInstalled();
  target.requests.length = 0;
  target.held.clear();
  await eventually("both are back", 20_000, () => target.held.size === 2);
  expect(target.requests.length).toBeLessThanOrEqual(4);
});

test("disposing leaves the rules and stops looking", async () => {
  const { target, manager } = setUp();
  const traffic = await manager;
  traffic.setRules(rulesFor());
  await traffic.whenInstalled();
  await traffic[Symbol.asyncDispose]();
  const looks = target.requests.length;
  await Bun.sleep(1200);
  expect(target.requests.length).toBe(looks);
  expect(target.held.size).toBe(2);
  expect(target.isDisposed).toBe(true);
});
