import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import {
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
import { collectingLog } from "../../support/collecting_log.ts";
import { eventually } from "../../support/wait.ts";
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
  const manager = startFirewallManager({
    target,
    resyncMs: 1000,
    clock: systemClock,
    log,
    ...options,
  });
  return { target, records, manager };
}

test("whenInstalled() waits for the rules of every enabled family", async () => {
  const { target, manager } = setUp();
  await using firewall = await manager;
  expect(firewall.status()).toEqual({ isInSync: false });
  firewall.setRules(rulesFor());
  await firewall.whenInstalled();
  expect(firewall.status()).toEqual({ isInSync: true });
  expect([...target.held.keys()]).toEqual([4, 6]);
});

test("whenInstalled() ends with the signal's reason", async () => {
  await using firewall = await setUp().manager;
  const stop = new AbortController();
  const waiting = firewall.whenInstalled(stop.signal);
  stop.abort(new Error("stopping"));
  await expect(waiting).rejects.toThrow("stopping");
});

test("rules are recognized as ours by current and previous networks", async () => {
  const previousNetworks = ["10.77.0.0/16" as Prefix];
  const { target, manager } = setUp({ previousNetworks });
  await using firewall = await manager;
  firewall.setRules(rulesFor());
  await firewall.whenInstalled();
  expect(target.requests[0]?.networks).toEqual([...previousNetworks, NETWORK4, NETWORK6]);
});

test("rules of the previous run are removed from a family that is not in use", async () => {
  const { target, manager } = setUp();
  await using firewall = await manager;
  const { 4: ipv4 } = rulesFor();
  target.held.set(6, rulesFor()[6] as FamilyRules);
  firewall.setRules({ ...(ipv4 && { 4: ipv4 }) });
  await firewall.whenInstalled();
  expect([...target.held.keys()]).toEqual([4]);
});

test("the unused target is cleaned only after the rules are installed", async () => {
  const order: string[] = [];
  const unused = new MemoryTarget();
  const { target, manager } = setUp({ unusedTarget: unused });
  for (const [name, system] of [["used", target], ["unused", unused]] as const) {
    const ensure = system.ensure.bind(system);
    system.ensure = (request) => (order.push(`${name} ${request.family}`), ensure(request));
  }
  await using firewall = await manager;
  firewall.setRules(rulesFor());
  await firewall.whenInstalled();
  expect(order).toEqual(["used 4", "used 6", "unused 4", "unused 6"]);
});

test("a failure is in the status, logged and retried", async () => {
  const { target, manager, records } = setUp();
  await using firewall = await manager;
  target.failures.push(new FirewallError("the lock is held"));
  // After a check of each family, the next one waits until the status has been read.
  const { promise: hasBeenRead, resolve: proceed } = Promise.withResolvers<void>();
  const ensure = target.ensure.bind(target);
  target.ensure = async (request) => {
    if (target.requests.length >= 2) await hasBeenRead;
    return await ensure(request);
  };
  firewall.setRules(rulesFor());
  await eventually("the failure", 20_000, () => firewall.status().problem === "the lock is held");
  expect(firewall.status().isInSync).toBe(false);
  proceed();
  await firewall.whenInstalled(AbortSignal.timeout(20_000));
  expect(records.filter(({ level }) => level === "error")).toHaveLength(1);
});

test.each([4, 6] as const)(
  "an unreadable table of IPv%i is reported, delays nothing, and is checked again",
  async (unreadable) => {
    const unused = new MemoryTarget();
    const { target, manager, records } = setUp({ unusedTarget: unused });
    const ensure = target.ensure.bind(target);
    let problem: Error | undefined = new UnreadableTableError(
      "filter cannot be shown: unsupported",
    );
    target.ensure = async (request) => {
      const changed = await ensure(request);
      if (request.family === unreadable && problem !== undefined) throw problem;
      return changed;
    };
    await using firewall = await manager;
    firewall.setRules(rulesFor());
    await firewall.whenInstalled(AbortSignal.timeout(20_000));
    expect(firewall.status()).toEqual({ isInSync: false, problem: problem.message });
    expect(target.held.get(4)?.masquerade[4]?.verdict).toBe("masquerade fully-random");
    expect(unused.requests.map(({ family }) => family)).toEqual([unreadable === 4 ? 6 : 4]);
    problem = undefined;
    await eventually("it is in sync", 20_000, () => firewall.status().isInSync);
    expect(records.filter(({ level }) => level === "error")).toHaveLength(1);
    expect(unused.requests).toHaveLength(2);
  },
);

test("a target without random source ports gets rules without them", async () => {
  const { target, manager, records } = setUp();
  const ensure = target.ensure.bind(target);
  target.ensure = (request) =>
    request.rules?.masquerade.some(({ verdict }) => verdict === "masquerade fully-random")
      ? Promise.reject(
        new FirewallError(`unknown option "--random-fully"`, { kind: "unsupported" }),
      )
      : ensure(request);
  await using firewall = await manager;
  firewall.setRules(rulesFor());
  await firewall.whenInstalled(AbortSignal.timeout(3000));
  expect(target.held.get(4)?.masquerade[4]?.verdict).toBe("masquerade");
  expect(records.filter(({ level }) => level === "warn")).toHaveLength(1);
});

test("a target that does not announce changes is checked periodically, families in turn", async () => {
  const { target, manager } = setUp();
  await using firewall = await manager;
  firewall.setRules(rulesFor());
  await firewall.whenInstalled();
  target.requests.length = 0;
  target.held.clear();
  await eventually("both are restored", 20_000, () => target.held.size === 2);
  expect(target.requests.length).toBeLessThanOrEqual(4);
});

test("disposing leaves the rules and ends the checks", async () => {
  const { target, manager } = setUp();
  const firewall = await manager;
  firewall.setRules(rulesFor());
  await firewall.whenInstalled();
  await firewall[Symbol.asyncDispose]();
  const requests = target.requests.length;
  await Bun.sleep(1200);
  expect(target.requests.length).toBe(requests);
  expect(target.held.size).toBe(2);
  expect(target.isDisposed).toBe(true);
});
