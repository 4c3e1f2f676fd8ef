/**
 * This node's live session, and what the sessions of other nodes say.
 *
 * etcd's user may lack the permission to write or read sessions. That is logged once, and the
 * node continues without the checks that need them.
 */

import { valuesOf } from "../../addr/family.ts";
import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { prefixContainsAddress } from "../../addr/prefix.ts";
import type { Clock } from "../../base/clock.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { Etcd } from "../../etcd/client/etcd.ts";
import { isPermissionDenied } from "../../etcd/client/etcd_error.ts";
import type { Log } from "../../log/log.ts";
import type { DeviceIdentity, LeaseQuery } from "../lease_store.ts";
import { keyStateAfter } from "./key_events.ts";
import type { LeaseRecord, LeaseRecords } from "./lease_records.ts";
import { isLiveSession, LiveSession } from "./live_session.ts";
import type { LiveNode } from "./node_identity.ts";
import { ownAddress } from "./own_records.ts";
import { type PreviousLease, previousLeases } from "./previous_leases.ts";

export interface NodeSessionOptions {
  readonly etcd: Etcd;
  readonly records: LeaseRecords;
  /** Describes this node to the others; called when a public address is claimed. */
  readonly node: (address: IpAddress) => LiveNode | Promise<LiveNode>;
  readonly ttlSeconds: number;
  readonly clock: Clock;
  readonly log: Log;
}

export class NodeSession implements AsyncDisposable {
  readonly #options: NodeSessionOptions;
  #session: LiveSession | undefined;
  #isWriteDenied = false;
  #isReadDenied = false;

  constructor(options: NodeSessionOptions) {
    this.#options = options;
  }

  /** Ends the session, so that another node can take over this address at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session?.[Symbol.asyncDispose]();
  }

  /**
   * Makes sure that no other live node has this node's public address. Throws
   * `DuplicateNodeError` if one has, and `EtcdError`.
   */
  async claim(lookup: LeaseQuery, signal: AbortSignal): Promise<void> {
    const { etcd, records, clock, log, ttlSeconds } = this.#options;
    const address = ownAddress(lookup);
    if (this.#session?.address === address || this.#isWriteDenied) return;
    const key = records.sessionKey(address);
    const node = withoutOverlay(await this.#options.node(address), lookup.config);
    try {
      const options = { etcd, key, address, node, ttlSeconds, clock, log };
      const previous = this.#session;
      this.#session = await LiveSession.claim(options, signal);
      await previous?.[Symbol.asyncDispose]();
    } catch (error) {
      if (!isPermissionDenied(error)) throw error;
      this.#isWriteDenied = true;
      log.warn(
        { err: error },
        `etcd denied write access to ${key}; duplicate public addresses will not be detected, ` +
          "and a node that returns with another public address gets another subnet; grant the " +
          `etcd role readwrite access to ${records.sessionPrefix}`,
      );
    }
  }

  /** Calls back if another node takes over the address of the current session. */
  onTakenOver(callback: (reason: string) => void): void {
    const session = this.#session;
    session?.takenOver.then((hostname) => {
      if (session !== this.#session) return;
      callback(`node ${hostname} took over this node's public address ${session.address}`);
    });
  }

  /**
   * The candidates that this node had with another public address. None if it cannot determine
   * whether other nodes are alive. Throws `DuplicateNodeError`.
   */
  async previousLeases(
    candidates: readonly LeaseRecord[],
    { identity, ...lookup }: LeaseQuery & { readonly identity: DeviceIdentity },
    signal: AbortSignal,
  ): Promise<PreviousLease[]> {
    if (this.#isWriteDenied) return [];
    const address = ownAddress(lookup);
    const { identity: sessionIdentity } = await this.#options.node(address);
    const options = {
      ...this.#options,
      identity,
      sessionIdentity,
      ownAddress: address,
    };
    try {
      return await previousLeases(candidates, options, signal);
    } catch (error) {
      if (!isPermissionDenied(error)) throw error;
      this.#reportReadDenied(error);
      return [];
    }
  }

  /** Whether the session of this address may be read. Throws `EtcdError`. */
  async isReadable(address: IpAddress, signal: AbortSignal): Promise<boolean> {
    const { etcd, records } = this.#options;
    try {
      await etcd.range({ key: records.sessionKey(address) }, signal);
      return true;
    } catch (error) {
      if (!isPermissionDenied(error)) throw error;
      this.#reportReadDenied(error);
      return false;
    }
  }

  /** Yields whether the node with this address is alive: at once, and at each change. */
  async *watchAlive(address: IpAddress, signal: AbortSignal): AsyncGenerator<boolean> {
    const { etcd, records } = this.#options;
    const key = records.sessionKey(address);
    let last: boolean | undefined;
    for await (const event of etcd.watch(key, signal)) {
      const after = keyStateAfter(event, key);
      if (after === undefined) continue;
      const isAlive = after.keyValue !== undefined && isLiveSession(after.keyValue);
      if (isAlive !== last) yield last = isAlive;
    }
  }

  #reportReadDenied(error: unknown): void {
    if (this.#isReadDenied) return;
    this.#isReadDenied = true;
    this.#options.log.warn(
      { err: error },
      `etcd denied read access to ${this.#options.records.sessionPrefix}; a node that returns ` +
        "with another public address gets another subnet, and of two nodes with the same MAC " +
        "address or key the first keeps it, alive or not; grant the etcd role read access there",
    );
  }
}

/** Without the addresses in the network, which are the overlay's and no choice for --iface. */
function withoutOverlay(node: LiveNode, { families }: NetworkConfig): LiveNode {
  const networks = valuesOf(families).map(({ network }) => network);
  const interfaces = node.interfaces.map(({ name, addresses }) => ({
    name,
    addresses: addresses.filter((text) => {
      const address = parseIpAddress(text);
      return !networks.some((network) => address && prefixContainsAddress(network, address));
    }),
  }));
  return { ...node, interfaces };
}
