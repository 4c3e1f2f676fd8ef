/**
 * A key that exists in etcd while this node is alive: `<prefix>/sessions/<public address>`,
 * attached to an etcd lease of half a minute that is kept alive.
 *
 * A node's lease outlives the node by a day, so it does not show whether its owner is alive. The
 * session does: a node that finds another host's session for its own public address waits until
 * it expires, and if it does not, two nodes have one address. Go flannel neither writes nor reads
 * such a key. See docs/adr/0003-live-session-key.md.
 *
 * The key is watched, and written again if something else deletes it, such as an operator who
 * wipes etcd or revokes the lease. The watch costs nothing while the key does not change.
 */

import { familyOf, type IpAddress } from "../../addr/ip.ts";
import type { Log } from "../../log/log.ts";
import { RecurringEvent } from "../../log/recurring_event.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import type { LeaseKey } from "../lease.ts";
import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import type { Etcd, EtcdKeyValue, EtcdWatch, KeyComparison } from "../../etcd/client/etcd.ts";
import { DuplicateNodeError, type LiveHolder } from "./allocation_errors.ts";
import { keyStateAfter } from "./key_events.ts";
import type { LiveNode } from "./node_identity.ts";

export interface LiveSessionOptions {
  readonly etcd: Etcd;
  readonly key: string;
  readonly address: IpAddress;
  readonly node: LiveNode;
  readonly ttlSeconds: number;
  readonly clock: Clock;
  readonly log: Log;
}

export const SESSION_TTL_SECONDS = 30;

export class LiveSession implements AsyncDisposable {
  readonly address: IpAddress;
  /** Resolves with the other node's name when it got the key while etcd was unreachable. */
  readonly takenOver: Promise<string>;
  readonly #options: LiveSessionOptions;
  readonly #stopped = new AbortController();
  readonly #failure: RepeatedFailure;
  readonly #restored: RecurringEvent;
  readonly #value: string;
  #etcdLease: bigint | undefined;
  /** Changes of the key that are not this node's own, and how many of them have been handled. */
  #foreignChanges = 0;
  #handledChanges = 0;
  /** Ends the pause before the next renewal. */
  #wake = new AbortController();
  #resolveTakenOver: (hostname: string) => void = () => {};
  #loop: Promise<unknown> = Promise.resolve();

  private constructor(options: LiveSessionOptions) {
    this.#options = options;
    const { address, node } = options;
    this.address = address;
    this.#value = JSON.stringify({
      hostname: node.hostname,
      identity: node.identity,
      interface: node.interface,
      pid: process.pid,
      started: new Date(performance.timeOrigin).toISOString(),
    });
    this.takenOver = new Promise((resolve) => this.#resolveTakenOver = resolve);
    this.#failure = new RepeatedFailure({
      what: `keeping the live session ${options.key}`,
      log: options.log,
      clock: options.clock,
    });
    this.#restored = new RecurringEvent({ log: options.log, clock: options.clock });
  }

  /**
   * Takes the session of this node's public address and keeps it until disposed. Waits for the
   * end of another node's session if that node may have died. Throws `DuplicateNodeError` if it is
   * alive, or `EtcdError`.
   */
  static async claim(options: LiveSessionOptions, signal: AbortSignal): Promise<LiveSession> {
    const session = new LiveSession(options);
    try {
      for (;;) {
        const holder = await session.#tryClaim("start", signal);
        if (holder === undefined) break;
        await waitForEnd(options, {
          holder,
          subject: `public address ${options.address}`,
          publicAddress: options.address,
          conflict: () => duplicateText(options),
        }, signal);
      }
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
    session.#loop = Promise.all([session.#keepAlive(), session.#watchKey()]);
    return session;
  }

  /** Stops and deletes the key, so that another node need not wait for its expiry. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#loop;
    if (this.#etcdLease === undefined) return;
    const { etcd, log, key } = this.#options;
    await etcd.revokeLease(this.#etcdLease, AbortSignal.timeout(REVOKE_TIMEOUT_MS)).catch(
      (error) => log.debug({ err: error }, `cannot end the live session ${key}; it will expire`),
    );
  }

  /**
   * Takes the key if it is free or this node's; otherwise returns its holder. If this node's key
   * exists at the start, it is from before a restart; one that appears later belongs to a newer
   * daemon of this node, which keeps it.
   */
  async #tryClaim(when: "start" | "later", signal: AbortSignal): Promise<Holder | undefined> {
    const { etcd, key, node, ttlSeconds } = this.#options;
    for (;;) {
      const found = (await etcd.range({ key }, signal)).keyValues[0];
      const holder = found && liveHolder(found);
      if (holder !== undefined && holder.identity !== node.identity) return holder;
      if (when === "later" && holder !== undefined) return undefined;
      // Granted only now: it would expire while this node waits for the end of another session.
      this.#etcdLease ??= (await etcd.grantLease({ ttlSeconds }, signal)).id;
      const { succeeded } = await etcd.transaction({
        compare: [
          found === undefined
            ? { key, createRevision: 0n }
            : { key, modRevision: found.modRevision },
        ],
        success: [{ put: { key, value: this.#value, lease: this.#etcdLease } }],
      }, signal);
      if (!succeeded) continue;
      if (when === "later") {
        this.#restored.occurred("info", `the live session ${key} was deleted; restored it`);
      }
      return undefined;
    }
  }

  async #watchKey(): Promise<void> {
    const { etcd, key, log } = this.#options;
    const { signal } = this.#stopped;
    try {
      for await (const event of etcd.watch(key, signal)) {
        if (this.#isAsWritten(event)) continue;
        this.#foreignChanges++;
        this.#wake.abort();
      }
    } catch (error) {
      if (signal.aborted) return;
      log.warn(
        { err: error },
        `cannot watch ${key}; if it is deleted, duplicate public addresses will not be detected`,
      );
    }
  }

  /** Whether the event shows the key as this node wrote it; true for events of other keys. */
  #isAsWritten(event: EtcdWatch): boolean {
    const { key } = this.#options;
    const isOurs = ({ value, lease }: EtcdKeyValue) =>
      value === this.#value && lease === this.#etcdLease;
    const after = keyStateAfter(event, key);
    return after === undefined || after.keyValue !== undefined && isOurs(after.keyValue);
  }

  async #keepAlive(): Promise<void> {
    const { clock, ttlSeconds } = this.#options;
    const signal = this.#stopped.signal;
    const intervalMs = ttlSeconds * 1000 / 3;
    let pauseMs = intervalMs;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      await sleep(clock, pauseMs, this.#wake.signal);
      if (signal.aborted) return;
      try {
        await this.#renew(signal);
        if (signal.aborted) return;
        this.#failure.succeeded();
        pauseMs = this.#foreignChanges === this.#handledChanges ? intervalMs : 0;
      } catch (error) {
        if (signal.aborted) return;
        // A refusal counts as an outage: the session is a precaution, never a reason to stop.
        this.#failure.failed(error);
        const limits = { firstMs: Math.min(1000, intervalMs), maxMs: intervalMs };
        pauseMs = backoffMs(this.#failure.failures, limits, clock);
      }
    }
  }

  async #renew(signal: AbortSignal): Promise<void> {
    // Limits the rate of writes if a program keeps deleting the key.
    if (this.#restored.isFrequent) await sleep(this.#options.clock, FREQUENT_PAUSE_MS, signal);
    if (signal.aborted) return;
    const changes = this.#foreignChanges;
    if (this.#etcdLease !== undefined) {
      const isKept = await this.#options.etcd.keepLeaseAlive(this.#etcdLease, signal) > 0;
      if (isKept && changes === this.#handledChanges) return;
      if (!isKept) this.#etcdLease = undefined;
    }
    const holder = await this.#tryClaim("later", signal);
    if (holder === undefined) {
      this.#handledChanges = changes;
      return;
    }
    this.#stop();
    this.#resolveTakenOver(holder.hostname);
  }

  #stop(): void {
    this.#stopped.abort();
    this.#wake.abort();
  }
}

/** Another node's session. */
interface Holder extends LiveHolder {
  readonly identity: string;
  readonly etcdLease: bigint;
}

/** A session whose node may be alive. */
interface OtherSession {
  readonly holder: Holder;
  readonly publicAddress: IpAddress;
  /** The lease with this node's identity, if that is what both nodes have. */
  readonly lease?: LeaseKey;
  /** What both nodes have, as the subject of "… belonged to node HOST". */
  readonly subject: string;
  /** The rest of "node HOST (interface IF) is alive, and …". */
  readonly conflict: () => string;
  /** How much longer to wait after it is known to be alive. */
  readonly extraWaitMs?: number;
  /** Whether the nodes no longer conflict, which ends the wait. */
  readonly isConflictGone?: () => Promise<boolean>;
}

/** The pause before the key is written again if something keeps deleting it. */
const FREQUENT_PAUSE_MS = 1000;

/** Shorter than what a service manager allows a stopping daemon. */
const REVOKE_TIMEOUT_MS = 1500;

/** Whether the entry says that a node is alive. */
export function isLiveSession(keyValue: EtcdKeyValue): boolean {
  return liveHolder(keyValue) !== undefined;
}

export interface PreviousSessionOptions
  extends Pick<LiveSessionOptions, "etcd" | "key" | "clock" | "log"> {
  /** `LiveNode.identity` of this node. */
  readonly ownIdentity: string;
  readonly publicAddress: IpAddress;
  readonly lease: LeaseKey;
  /** What the session's node and this node have in common, such as `lease X with the VtepMAC Y`. */
  readonly subject: string;
  /** The rest of "node HOST (interface IF) is alive, and …". */
  readonly conflict: string;
  /** How much longer to wait for that node to end, which may be waiting for this one. */
  readonly extraWaitMs: number;
  /** Whether the lease with that node's address has changed, so its session no longer matters. */
  readonly isConflictGone: () => Promise<boolean>;
}

/**
 * Makes sure that no other live node has the session of an address that this node may have had
 * before. Returns the condition under which this remains true, for a transaction. Waits for the
 * end of a session whose node may have died; throws `DuplicateNodeError` if that node is alive.
 */
export async function endOfPreviousSession(
  options: PreviousSessionOptions,
  signal: AbortSignal,
): Promise<KeyComparison> {
  const { etcd, key, ownIdentity, conflict, isConflictGone } = options;
  for (;;) {
    const found = (await etcd.range({ key }, signal)).keyValues[0];
    if (found === undefined) return { key, createRevision: 0n };
    const holder = liveHolder(found);
    if (holder === undefined || holder.identity === ownIdentity) {
      return { key, modRevision: found.modRevision };
    }
    await waitForEnd(options, { ...options, holder, conflict: () => conflict }, signal);
    if (await isConflictGone()) return { key, modRevision: found.modRevision };
  }
}

/**
 * Waits for the end of another node's session. It is alive if its etcd lease is renewed twice: one
 * renewal may be a new leader of etcd, which restarts the time of every lease.
 */
async function waitForEnd(
  { etcd, clock, log }: Pick<LiveSessionOptions, "etcd" | "clock" | "log">,
  { holder, publicAddress, lease, subject, conflict, extraWaitMs = 0, isConflictGone }:
    OtherSession,
  signal: AbortSignal,
): Promise<void> {
  const startMs = clock.nowMs();
  let [previous, renewals] = [Infinity, 0];
  /** When it was known to be alive. */
  let aliveMs: number | undefined;
  for (let polls = 0;; polls++) {
    const { remainingSeconds, grantedSeconds } = await etcd.leaseTimeToLive(
      holder.etcdLease,
      signal,
    );
    if (remainingSeconds < 0 || await isConflictGone?.()) return;
    if (polls === 0) {
      log.info(
        `${subject} belonged to node ${holder.hostname} a moment ago; ` +
          `waiting for up to ${grantedSeconds} s to see whether that node is still alive`,
      );
    }
    if (remainingSeconds > previous) renewals++;
    previous = remainingSeconds;
    const elapsedMs = clock.nowMs() - startMs;
    if (renewals >= 2 || elapsedMs > 2 * grantedSeconds * 1000 + 2000) aliveMs ??= elapsedMs;
    if (aliveMs !== undefined && elapsedMs - aliveMs >= extraWaitMs) {
      const { hostname, interface: name } = holder;
      throw new DuplicateNodeError(
        `node ${hostname} (interface ${name}) is alive, and ${conflict()}`,
        { publicAddress, holder: { hostname, interface: name }, ...(lease && { lease }) },
      );
    }
    await sleep(clock, Math.min(1000, grantedSeconds * 100), signal);
    signal.throwIfAborted();
  }
}

function duplicateText({ address, node }: LiveSessionOptions): string {
  const here = node.interface === "" ? "this node" : `this node's interface ${node.interface}`;
  return `has the same public address ${address} as ${here}; the other nodes cannot distinguish ` +
    `the two; ${remedyText(node, address)}`;
}

/** The address was given but no interface has it: NAT, or a mistake. */
function remedyText({ interface: name, interfaces }: LiveNode, address: IpAddress): string {
  if (name === "") {
    const flag = familyOf(address) === 4 ? "--public-ip" : "--public-ipv6";
    return `no interface of this host has that address: set ${flag} to this node's own address, ` +
      `or remove ${flag}`;
  }
  const others = interfaces.filter(({ name, addresses }) =>
    name !== "lo" && !name.startsWith("flannel") && addresses.length > 0 &&
    !addresses.includes(address)
  );
  if (others.length === 0) return "no other interface of this host has an address to use instead";
  return `choose another interface of this host with --iface: ${
    others.map(({ name, addresses }) => `${name} (${addresses.join(", ")})`).join("; ")
  }`;
}

/**
 * The node of which the entry says that it is alive; `undefined` if the entry is not a live
 * session: invalid, or without an etcd lease.
 */
export function liveHolder({ value, lease }: EtcdKeyValue): Holder | undefined {
  if (lease === 0n) return undefined;
  let fields: unknown;
  try {
    fields = JSON.parse(value);
  } catch {
    return undefined;
  }
  if (typeof fields !== "object" || fields === null) return undefined;
  const { identity, hostname, interface: name } = fields as Record<string, unknown>;
  if (typeof identity !== "string") return undefined;
  return {
    identity,
    hostname: typeof hostname === "string" ? hostname : "of unknown name",
    interface: typeof name === "string" ? name : "unknown",
    etcdLease: lease,
  };
}
