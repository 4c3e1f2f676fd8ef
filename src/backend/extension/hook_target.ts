/**
 * Runs the commands for peers: SubnetAddCommand has to have succeeded for each peer, with the
 * values of its current lease.
 *
 * A record says what was done for each peer. Its difference to the lease decides what to run:
 * nothing, SubnetAddCommand, SubnetRemoveCommand, or SubnetRemoveCommand with the old values
 * followed by SubnetAddCommand with the new ones. The record is written before a command starts and
 * again after it has succeeded: so the next run knows which peers a crash interrupted, and removes
 * and adds them again.
 *
 * The commands for one peer run one after the other, those for different peers in parallel. A
 * subnet that moves to another peer is removed from the previous one first.
 */

import type { PerFamily } from "../../addr/family.ts";
import type { FamilyNetwork } from "../../config/network_config.ts";
import { RateLimitedWarnings } from "../../log/rate_limited_warnings.ts";
import type { Log } from "../../log/log.ts";
import type { Lease, LeaseKey } from "../../subnet/lease.ts";
import { backoffMs, type Clock } from "../../base/clock.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { BackendTarget } from "../../overlay/backend_target.ts";
import { type HookInput, peerInput, sameInput, shareSubnet, subjectText } from "./hook_input.ts";
import type { HookRecords, PeerRecord } from "./hook_records.ts";
import { HookError, type HookRunner } from "./hook_runner.ts";
import type { HookSetup } from "./hook_setup.ts";
import { type ExtensionOptions, GRACE_MS } from "./extension_options.ts";

export interface HookTargetOptions {
  readonly options: ExtensionOptions;
  readonly setup: HookSetup;
  readonly records: HookRecords;
  readonly runner: HookRunner;
  readonly networks: PerFamily<FamilyNetwork>;
  readonly clock: Clock;
  readonly log: Log;
}

const PARALLEL = 4;
const RETRY = { firstMs: 1000, maxMs: 60_000 };
/** About two minutes: what cannot be removed by then has most likely disappeared by itself. */
const REMOVE_ATTEMPTS = 8;

interface Peer {
  readonly key: LeaseKey;
  /** From its lease; `undefined` if it has none. */
  wanted: HookInput | undefined;
  /** What was done for it. */
  record: PeerRecord | undefined;
  /** It has left: its lease is not merely unknown yet. */
  isGone: boolean;
  isRunning: boolean;
  failures: number;
  problem: string | undefined;
  retry: Disposable | undefined;
}

type Action = "none" | "add" | "remove" | "replace";

export class HookTarget implements BackendTarget {
  readonly #options: HookTargetOptions;
  /** Rate-limited, because a command may fail for thousands of peers. */
  readonly #lines: RateLimitedWarnings;
  readonly #peers = new Map<LeaseKey, Peer>();
  /** Peers to check, in order. */
  readonly #queue = new Set<Peer>();
  /** Peers that were added and have no lease, until the first attempt to remove them. */
  readonly #leaving = new Set<Peer>();
  readonly #kill = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #settled: PromiseWithResolvers<void> | undefined;
  #isStopped = false;

  constructor(options: HookTargetOptions) {
    this.#options = options;
    this.#lines = new RateLimitedWarnings(options);
    for (const record of options.records.peers) {
      const peer = this.#at(record.key);
      peer.record = record;
      this.#leaving.add(peer);
    }
  }

  async start({ own, external }: NodeInput, stop: AbortSignal): Promise<void> {
    const { publicAddresses } = external;
    await this.#options.setup.start({ subnets: own.subnets, publicAddresses }, stop);
  }

  externalChanged(): void {
    const { options, log } = this.#options;
    if (options.PreStartupCommand === "" && options.PostStartupCommand === "") return;
    log.warn(
      "PreStartupCommand and PostStartupCommand do not run again for the changed interface; " +
        "restart flanneld if they depend on its address",
    );
  }

  put(lease: Lease): void {
    const peer = this.#at(lease.key);
    const wanted = peerInput(lease, this.#options.networks);
    if (peer.wanted !== undefined && sameInput(peer.wanted, wanted)) return;
    peer.wanted = wanted;
    peer.isGone = false;
    this.#leaving.delete(peer);
    this.#reset(peer);
  }

  remove(lease: Lease): void {
    const peer = this.#peers.get(lease.key);
    if (peer === undefined) return;
    peer.wanted = undefined;
    peer.isGone = true;
    if (peer.record !== undefined) this.#leaving.add(peer);
    this.#reset(peer);
  }

  allowSweep(): void {
    for (const peer of this.#peers.values()) {
      if (peer.wanted !== undefined || peer.isGone) continue;
      peer.isGone = true;
      this.#reset(peer);
    }
  }

  async whenSettled(): Promise<void> {
    if (this.#isSettled()) return;
    this.#settled ??= Promise.withResolvers();
    await this.#settled.promise;
  }

  problems(): readonly string[] {
    const problems = [...this.#peers.values()].flatMap(({ problem }) => problem ?? []);
    const { problem } = this.#options.records;
    return problem === undefined ? problems : [problem, ...problems];
  }

  /** Gives running commands a moment to finish, then runs ShutdownCommand. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#queue.clear();
    for (const { retry } of this.#peers.values()) retry?.[Symbol.dispose]();
    {
      const stop = () => this.#kill.abort(new Error("the daemon ends"));
      using _timer = this.#options.clock.setTimer(GRACE_MS, stop);
      await Promise.all(this.#running);
    }
    this.#lines[Symbol.dispose]();
    this.#settled?.resolve();
    await this.#options.setup.shutDown();
  }

  #at(key: LeaseKey): Peer {
    let peer = this.#peers.get(key);
    if (peer === undefined) {
      peer = {
        key,
        wanted: undefined,
        record: undefined,
        isGone: false,
        isRunning: false,
        failures: 0,
        problem: undefined,
        retry: undefined,
      };
      this.#peers.set(key, peer);
    }
    return peer;
  }

  /** Earlier failures do not count for new values. */
  #reset(peer: Peer): void {
    peer.failures = 0;
    peer.problem = undefined;
    peer.retry?.[Symbol.dispose]();
    peer.retry = undefined;
    this.#queue.add(peer);
    this.#pump();
  }

  #pump(): void {
    if (this.#isStopped) return;
    for (const peer of this.#queue) {
      if (this.#running.size >= PARALLEL) return;
      if (peer.isRunning) continue;
      const action = this.#actionFor(peer);
      if (action !== "none" && this.#isBlocked(peer)) continue;
      this.#queue.delete(peer);
      if (action === "none") this.#forget(peer);
      else this.#begin(peer, action);
    }
    if (this.#isSettled()) {
      this.#settled?.resolve();
      this.#settled = undefined;
    }
  }

  /** Nothing is running, and the queued peers wait for `allowSweep`. */
  #isSettled(): boolean {
    return this.#isStopped ||
      this.#running.size === 0 && [...this.#queue].every((peer) => this.#isBlocked(peer));
  }

  /** Whether one of its subnets has not been removed from another peer yet. */
  #isBlocked({ wanted, key }: Peer): boolean {
    if (wanted === undefined) return false;
    for (const { key: otherKey, record } of this.#leaving) {
      if (otherKey === key || record === undefined) continue;
      if (shareSubnet(record.input.variables, wanted.variables)) return true;
    }
    return false;
  }

  #actionFor({ wanted, record, isGone }: Peer): Action {
    if (wanted === undefined) return record !== undefined && isGone ? "remove" : "none";
    if (record === undefined) return "add";
    const isCurrent = record.isCertain && record.generation === this.#options.setup.generation &&
      record.command === this.#options.options.SubnetAddCommand &&
      sameInput(record.input, wanted);
    return isCurrent ? "none" : "replace";
  }

  #forget(peer: Peer): void {
    if (peer.wanted !== undefined || peer.record !== undefined) return;
    peer.retry?.[Symbol.dispose]();
    this.#leaving.delete(peer);
    this.#peers.delete(peer.key);
  }

  #begin(peer: Peer, action: Exclude<Action, "none">): void {
    peer.isRunning = true;
    const { wanted } = peer;
    const done = this.#perform(peer, action).then(
      () => this.#succeeded(peer, wanted),
      (error: unknown) => this.#failed(peer, wanted, action, error),
    ).finally(() => {
      this.#running.delete(done);
      peer.isRunning = false;
      if (action === "remove" || peer.record === undefined) this.#leaving.delete(peer);
      this.#pump();
    });
    this.#running.add(done);
  }

  async #perform(peer: Peer, action: Exclude<Action, "none">): Promise<void> {
    const { wanted } = peer;
    switch (action) {
      case "add":
        return await this.#add(peer, wanted as HookInput);
      case "remove":
        return await this.#remove(peer);
      case "replace":
        // Removing fails where there is nothing to remove, for instance after a crash.
        await this.#remove(peer).catch((error: unknown) => {
          if (!(error instanceof HookError)) throw error;
          this.#lines.warnLine(`${error.message}; running SubnetAddCommand nevertheless`);
        });
        return await this.#add(peer, wanted as HookInput);
    }
  }

  async #add(peer: Peer, input: HookInput): Promise<void> {
    const { setup, options: { SubnetAddCommand }, records } = this.#options;
    const { generation } = setup;
    const record = { key: peer.key, generation, command: SubnetAddCommand, input };
    await this.#run(peer, "SubnetAddCommand", { ...record, isCertain: false });
    peer.record = { ...record, isCertain: true, mark: "" };
    await records.writePeer(peer.record);
  }

  async #remove(peer: Peer): Promise<void> {
    const record = peer.record as PeerRecord;
    await this.#run(peer, "SubnetRemoveCommand", { ...record, isCertain: false });
    peer.record = undefined;
    await this.#options.records.deletePeer(peer.key);
  }

  /** Records that the result is uncertain, and runs the command, if there is one. */
  async #run(
    peer: Peer,
    name: "SubnetAddCommand" | "SubnetRemoveCommand",
    note: Omit<PeerRecord, "mark">,
  ): Promise<void> {
    const { options, records, runner } = this.#options;
    if (options[name] === "") return;
    const mark = crypto.randomUUID();
    peer.record = { ...note, mark };
    await records.writePeer(peer.record);
    await runner.run({
      name,
      subject: subjectText(note.input.variables),
      command: options[name],
      input: note.input,
      timeoutMs: options.CommandTimeoutSeconds * 1000,
      mark,
      signal: this.#kill.signal,
    });
  }

  #succeeded(peer: Peer, wanted: HookInput | undefined): void {
    if (peer.wanted === wanted) {
      peer.failures = 0;
      peer.problem = undefined;
    }
    // Its lease may have changed meanwhile.
    this.#queue.add(peer);
  }

  async #failed(
    peer: Peer,
    wanted: HookInput | undefined,
    action: Action,
    error: unknown,
  ): Promise<void> {
    const { log, clock, records } = this.#options;
    if (this.#isStopped) return; // Killed at the end, most likely; the record is uncertain then.
    const message = error instanceof HookError ? error.message : `${(error as Error).stack}`;
    if (peer.wanted !== wanted) {
      this.#lines.warnLine(message);
      this.#queue.add(peer);
      return;
    }
    peer.failures++;
    if (action === "remove" && peer.failures >= REMOVE_ATTEMPTS) {
      log.error(
        `${message}; giving up after ${REMOVE_ATTEMPTS} attempts: remove what is left by hand`,
      );
      peer.record = undefined;
      peer.problem = undefined;
      await records.deletePeer(peer.key);
      this.#queue.add(peer);
      return;
    }
    const delayMs = backoffMs(peer.failures, RETRY, clock);
    peer.retry?.[Symbol.dispose]();
    peer.problem = `${message}; retrying`;
    this.#lines.warnLine(`${message}; retrying in ${Math.ceil(delayMs / 1000)} s`);
    peer.retry = clock.setTimer(delayMs, () => {
      this.#queue.add(peer);
      this.#pump();
    });
  }
}
