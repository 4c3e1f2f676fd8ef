/** Leases and configuration in etcd, laid out as Go flannel lays them out. */

import { familiesOf, mapFamilies, type PerFamily } from "../../addr/family.ts";
import { type Family, familyOf, type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import type { ExcludedAddress } from "../../addr/excluded_address.ts";
import { hostPrefix, type Prefix, prefixContainsAddress } from "../../addr/prefix.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { Log } from "../../log/log.ts";
import { forEachWithMinorGc } from "../../base/for_each_with_minor_gc.ts";
import { allocateSubnets, subnetFits, subnetsFit } from "../allocation.ts";
import type { InvalidLease, Lease, LeaseAttributes, LeaseWatch } from "../lease.ts";
import { encodeLeaseKey, encodeLeaseValue, isInvalidLease } from "../lease_codec.ts";
import { excludedAddressIn } from "../lease_validation.ts";
import {
  type DeviceIdentity,
  type LeaseQuery,
  type LeaseRequest,
  type LeaseStore,
  OutOfSubnetsError,
  type OwnLease,
} from "../lease_store.ts";
import { type Clock, sleep, systemClock } from "../../base/clock.ts";
import type { Etcd, EtcdWatch } from "../../etcd/client/etcd.ts";
import { isPermissionDenied } from "../../etcd/client/etcd_error.ts";
import { type PreviousLease, previousLeases } from "./previous_leases.ts";
import { isLiveSession, LiveSession, SESSION_TTL_SECONDS } from "./live_session.ts";
import type { LiveNode } from "./node_identity.ts";
import { EtcdOwnLease, type HeldLease } from "./etcd_own_lease.ts";
import { claimedSubnets, type LeaseRecord, LeaseRecords, leasesOverlap } from "./lease_records.ts";
import { throwingStoreError, untilStoreAnswers } from "./store_retry.ts";
import { SUBNET_TTL_SECONDS, UnusedLease } from "./unused_lease.ts";

export interface EtcdLeaseStoreOptions {
  /** The store owns it and closes it. */
  readonly etcd: Etcd;
  /** Such as `/coreos.com/network`. */
  readonly prefix: string;
  /** How long before its expiry a lease is renewed. */
  readonly renewMarginMs: number;
  /** What the other nodes are told of this one; called when a public address is claimed. */
  readonly node: (address: IpAddress) => LiveNode | Promise<LiveNode>;
  readonly log: Log;
  readonly clock?: Clock;
  /** Lifetime of the live session; default 30. */
  readonly sessionTtlSeconds?: number;
}

/** So long the list of leases that was read to look for this node's is good for its first attempt. */
const LIST_FRESH_MS = 5_000;

export class EtcdLeaseStore implements LeaseStore {
  readonly description: string;
  readonly #options: Required<EtcdLeaseStoreOptions>;
  readonly #records: LeaseRecords;
  #session: LiveSession | undefined;
  #sessionRefused = false;
  #sessionsHidden = false;
  /** The text that `networkConfig` gave last: `watchNetworkConfig` gives what differs from it. */
  #lastConfig: string | undefined;
  /** What `previousLease` read, for the `acquire` that follows. */
  #lastList: { readonly records: readonly LeaseRecord[]; readonly readMs: number } | undefined;

  constructor(options: EtcdLeaseStoreOptions) {
    this.#options = { clock: systemClock, sessionTtlSeconds: SESSION_TTL_SECONDS, ...options };
    this.#records = new LeaseRecords(options.etcd, options.prefix);
    this.description = `etcd at ${options.etcd.description}`;
  }

  /** Ends the live session, so that this address can be taken over at once, and closes etcd. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session?.[Symbol.asyncDispose]();
    await this.#options.etcd[Symbol.asyncDispose]();
  }

  async networkConfig(signal: AbortSignal): Promise<string | undefined> {
    const key = this.#records.configKey;
    const { keyValues } = await throwingStoreError(() => this.#options.etcd.range({ key }, signal));
    return this.#lastConfig = keyValues[0]?.value;
  }

  async *watchNetworkConfig(signal: AbortSignal): AsyncGenerator<string | undefined> {
    const key = this.#records.configKey;
    for await (const event of this.#options.etcd.watch(key, signal)) {
      const text = configOf(event, key, this.#lastConfig);
      if (text === this.#lastConfig) continue;
      yield this.#lastConfig = text;
    }
  }

  /** Throws `DuplicateNodeError` as `acquire` does: that lease is another live node's. */
  async previousLease(lookup: LeaseQuery, signal: AbortSignal): Promise<Lease | undefined> {
    return await this.#untilAnswered("looking for this node's lease in etcd", signal, async () => {
      await this.#claimSession(lookup, signal);
      const readMs = this.#options.clock.nowMs();
      const records = await this.#records.all(signal);
      this.#lastList = { records, readMs };
      const lease = ownRecords(records, lookup)[0]?.lease;
      return lease === undefined || isInvalidLease(lease) ? undefined : lease;
    });
  }

  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<OwnLease> {
    const { attributes, config } = request;
    const lookup = { config, publicAddresses: attributes.publicAddresses };
    await using spare = new UnusedLease(this.#options.etcd);
    const held = await this.#untilAnswered("acquiring a subnet in etcd", signal, async () => {
      await this.#claimSession(lookup, signal);
      for (let races = 0;; races++) {
        const held = await spare.attempt(() => this.#tryAcquire(request, spare, signal));
        if (held !== undefined) return held;
        // Nodes that started together choose again at different times.
        const { clock } = this.#options;
        await sleep(clock, clock.random() * Math.min(20 * (races + 1), 500), signal);
        signal.throwIfAborted();
      }
    });
    return this.#hold(held, config);
  }

  watchLeases(signal: AbortSignal): AsyncIterable<LeaseWatch> {
    const events = this.#options.etcd.watch(this.#records.leasePrefix, signal);
    return mapEvents(events, (event) => this.#leaseEvent(event));
  }

  async *watchAlive(address: IpAddress, signal: AbortSignal): AsyncGenerator<boolean> {
    const key = this.#records.sessionKey(address);
    if (!await this.#maySee(key, signal)) return;
    let last: boolean | undefined;
    for await (const event of this.#options.etcd.watch(key, signal)) {
      const isAlive = aliveAfter(event, key) ?? last;
      if (isAlive !== undefined && isAlive !== last) yield last = isAlive;
    }
  }

  /** Whether the key may be read. Checked before a watch, which would retry endlessly. */
  async #maySee(key: string, signal: AbortSignal): Promise<boolean> {
    return await this.#untilAnswered(`reading ${key} in etcd`, signal, async () => {
      try {
        await this.#options.etcd.range({ key }, signal);
        return true;
      } catch (error) {
        if (!isPermissionDenied(error)) throw error;
        this.#reportHidden(error);
        return false;
      }
    });
  }

  /** Says it once. */
  #reportHidden(error: unknown): void {
    if (this.#sessionsHidden) return;
    this.#sessionsHidden = true;
    this.#options.log.warn(
      { err: error },
      "this etcd user cannot read the sessions of other nodes; without them, a node that comes back " +
        "with another public address gets another subnet, and of two nodes with one MAC address or " +
        "key the first one keeps it, alive or not; grant the user read access there",
    );
  }

  /** One attempt; `undefined` if somebody else was faster. */
  async #tryAcquire(
    request: LeaseRequest,
    spare: UnusedLease,
    signal: AbortSignal,
  ): Promise<HeldLease | undefined> {
    const records = this.#takeLastList() ?? await this.#records.all(signal);
    const own = await this.#ownLeases(records, request, signal);
    const foreign = records.filter((record) => !own.some((one) => one.record === record));
    const defect = ({ record }: OwnRecord) => whyUnfit(record, foreign, request);
    const fitting = own.find((one) => defect(one) === undefined);
    if (fitting !== undefined) {
      const held = await this.#takeOver(fitting, request, spare, signal);
      if (held !== undefined) await this.#deleteSurplus(own, fitting, signal);
      return held;
    }
    const deleted = await this.#deleteUnfitting(own, defect, signal);
    const others = records.filter((record) => !deleted.includes(record));
    const subnets = this.#choose(request, others);
    const held = await this.#create(subnets, request, spare, signal);
    if (held !== undefined) this.#warnOfNewSubnet(request, others, held);
    return held;
  }

  /** The workloads still have addresses of the subnet that the subnet file names. */
  #warnOfNewSubnet(
    { previousSubnets, config }: LeaseRequest,
    others: readonly LeaseRecord[],
    { lease: { key, subnets } }: HeldLease,
  ): void {
    for (const family of familiesOf(subnets)) {
      const [had, has] = [previousSubnets[family], subnets[family]];
      if (had === undefined || had === has) continue;
      const holder = others.find((record) =>
        leasesOverlap(claimedSubnets(record, config.families), { [family]: had })
      );
      const { why, cure } = holder === undefined
        ? { why: "which does not suit now", cure: "" }
        : this.#holderText(holder, config);
      this.#options.log.warn(
        { lease: key },
        `this node had ${had} (subnet file), ${why}; it has ${has} now: give the workloads new ` +
          `addresses (restart Docker)${cure}`,
      );
    }
  }

  #holderText(
    { lease }: LeaseRecord,
    config: NetworkConfig,
  ): { readonly why: string; readonly cure: string } {
    const address = isInvalidLease(lease)
      ? undefined
      : lease.attributes.publicAddresses[nodeFamily({ config })];
    const cure = `etcdctl del ${this.#records.leaseKey(lease.key)}`;
    return address === undefined
      ? { why: `which lease ${lease.key} has`, cure: `. If no other node has that lease: ${cure}` }
      : {
        why: `whose lease belongs to the public address ${address}`,
        cure: `. If no other node has that address, delete the lease and restart flanneld: ${cure}`,
      };
  }

  /**
   * The list that was read a moment ago, once. Whoever changed a lease since makes the write that it
   * leads to fail, and the next attempt reads.
   */
  #takeLastList(): readonly LeaseRecord[] | undefined {
    const list = this.#lastList;
    this.#lastList = undefined;
    const oldestMs = this.#options.clock.nowMs() - LIST_FRESH_MS;
    return list !== undefined && list.readMs >= oldestMs ? list.records : undefined;
  }

  /**
   * This node's leases, in order of preference: a reservation for its address, a lease with its device's
   * identity, the one in the subnet file, the oldest.
   */
  async #ownLeases(
    records: readonly LeaseRecord[],
    request: LeaseRequest,
    signal: AbortSignal,
  ): Promise<OwnRecord[]> {
    const { config, attributes, identity } = request;
    const { publicAddresses } = attributes;
    const named = ownRecords(records, { config, publicAddresses });
    const others = records.filter((record) => !named.includes(record));
    const former = identity === undefined
      ? []
      : await this.#formerLeases(others, { identity, config, publicAddresses }, signal);
    return [...named.map((record) => ({ record, guards: [] })), ...former]
      .toSorted((a, b) => preference(a, request) - preference(b, request));
  }

  /** Empty if this node cannot determine whether other nodes are alive. */
  async #formerLeases(
    candidates: readonly LeaseRecord[],
    { identity, ...lookup }: LeaseQuery & { readonly identity: DeviceIdentity },
    signal: AbortSignal,
  ): Promise<PreviousLease[]> {
    if (this.#sessionRefused) return [];
    const address = ownAddress(lookup);
    const { identity: sessionIdentity } = await this.#options.node(address);
    const options = {
      ...this.#options,
      records: this.#records,
      identity,
      sessionIdentity,
      ownAddress: address,
      addressIn: ({ publicAddresses }: LeaseAttributes) => publicAddresses[nodeFamily(lookup)],
    };
    try {
      return await previousLeases(candidates, options, signal);
    } catch (error) {
      if (!isPermissionDenied(error)) throw error;
      this.#reportHidden(error);
      return [];
    }
  }

  /** Keeps the subnet of a lease of this node. */
  async #takeOver(
    { record, guards, address }: OwnRecord,
    { attributes, previousSubnets }: LeaseRequest,
    spare: UnusedLease,
    signal: AbortSignal,
  ): Promise<HeldLease | undefined> {
    const { etcd, clock, log } = this.#options;
    const lease = record.lease as Lease;
    let ttlSeconds = Infinity;
    let etcdLease = record.etcdLease;
    if (etcdLease !== 0n) {
      ttlSeconds = await etcd.keepLeaseAlive(etcdLease, signal);
      if (ttlSeconds <= 0) return undefined;
      if (ttlSeconds < SUBNET_TTL_SECONDS) {
        etcdLease = await spare.id(signal);
        ttlSeconds = SUBNET_TTL_SECONDS;
      }
    }
    const expiresMs = clock.nowMs() + ttlSeconds * 1000;
    const value = encodeLeaseValue(attributes);
    let modRevision: bigint | undefined = record.modRevision;
    if (value !== record.value || etcdLease !== record.etcdLease) {
      const write = { key: lease.key, value, etcdLease };
      modRevision = await this.#records.replace(write, record.modRevision, signal, guards);
      if (modRevision === undefined) return undefined;
    }
    // It may also be there since an attempt whose answer was lost.
    spare.release(etcdLease);
    const kind = etcdLease === 0n ? "reservation" : "lease";
    const moved = address === undefined ? "" : `, which it had with the public address ${address}`;
    const isNew = etcdLease === 0n && address === undefined &&
      !isInFile(lease.subnets, previousSubnets);
    log.info(
      { lease: lease.key },
      `${isNew ? "taking" : "reusing"} this node's ${kind} of ${subnetText(lease.subnets)}${moved}`,
    );
    return { lease: { ...lease, attributes, modRevision }, etcdLease, expiresMs };
  }

  /** Leases of ours for an earlier configuration. A reservation is the operator's: it stays. */
  async #deleteUnfitting(
    own: readonly OwnRecord[],
    defect: (one: OwnRecord) => string | undefined,
    signal: AbortSignal,
  ): Promise<LeaseRecord[]> {
    const { log } = this.#options;
    for (const one of own) {
      const { record, guards } = one;
      const { lease, subnets, etcdLease, modRevision } = record;
      const what = `${subnetText(subnets)} ${defect(one)}`;
      if (etcdLease === 0n) {
        log.warn({ lease: lease.key }, `the reservation of ${what}; it is not used, delete it`);
      } else {
        log.info({ lease: lease.key }, `this node's lease of ${what}; deleting it`);
        await this.#records.delete(lease.key, modRevision, signal, guards);
      }
    }
    return own.map(({ record }) => record).filter(({ etcdLease }) => etcdLease !== 0n);
  }

  /**
   * Other leases of ours, as when a reservation has come since. The other nodes would take them for
   * one more node with this address, and where the address is what tells nodes apart, as in IKE, for
   * this one.
   */
  async #deleteSurplus(
    own: readonly OwnRecord[],
    kept: OwnRecord,
    signal: AbortSignal,
  ): Promise<void> {
    const { log } = this.#options;
    for (const one of own) {
      if (one === kept) continue;
      const { lease, subnets, modRevision, etcdLease } = one.record;
      const has = `this node has ${subnetText(kept.record.subnets)} now`;
      if (etcdLease !== 0n) {
        log.info({ lease: lease.key }, `${has}; deleting its lease of ${subnetText(subnets)}`);
        await this.#records.delete(lease.key, modRevision, signal, one.guards);
      } else if (one.match !== undefined) {
        log.warn(
          { lease: lease.key },
          `${has}, but the reservation of ${subnetText(subnets)} for ${one.address} contains its ` +
            `${one.match}, so that Go flannel on other nodes may send to that address; delete ` +
            "the reservation or its BackendData",
        );
      }
    }
  }

  /** The subnets of the subnet file where they are free, others by chance. */
  #choose(request: LeaseRequest, records: readonly LeaseRecord[]): PerFamily<Prefix> {
    const { families } = request.config;
    const excluded = (request.excluded ?? []).map(({ address }) => {
      const family = familyOf(address);
      return { [family]: hostPrefix(address) };
    });
    const taken = [...excluded, ...records.map((record) => claimedSubnets(record, families))];
    const isFree = (subnet: Prefix, family: Family) =>
      !taken.some((subnets) => leasesOverlap(subnets, { [family]: subnet }));
    const previous = mapFamilies(families, (network, family) => {
      const subnet = request.previousSubnets[family];
      return subnet && subnetFits(network, subnet) && isFree(subnet, family) ? subnet : undefined;
    });
    const missing = mapFamilies(
      families,
      (network, family) => previous[family] ? undefined : network,
    );
    const randomIndex = (limit: number) => Math.floor(this.#options.clock.random() * limit);
    const chosen = allocateSubnets(missing, taken, randomIndex);
    if (chosen === undefined) {
      throw new OutOfSubnetsError(outOfSubnetsText(request.config, records));
    }
    return { ...previous, ...chosen };
  }

  async #create(
    subnets: PerFamily<Prefix>,
    { config, attributes }: LeaseRequest,
    spare: UnusedLease,
    signal: AbortSignal,
  ): Promise<HeldLease | undefined> {
    const { clock, log } = this.#options;
    const key = encodeLeaseKey(subnets);
    const etcdLease = await spare.id(signal);
    const write = { key, value: encodeLeaseValue(attributes), etcdLease };
    const expiresMs = clock.nowMs() + SUBNET_TTL_SECONDS * 1000;
    const creation = await this.#records.create(write, config.families, signal);
    if (creation.kind !== "created") {
      log.info({ lease: key }, `another node was faster to take ${subnetText(subnets)}`);
      if (creation.kind === "overlaps") await spare.revoke(signal);
      return undefined;
    }
    spare.release(etcdLease);
    log.info({ lease: key }, `took the subnet ${subnetText(subnets)}`);
    const { revision } = creation;
    const lease = { key, subnets, attributes, createRevision: revision, modRevision: revision };
    return { lease, etcdLease, expiresMs };
  }

  #hold(held: HeldLease, config: NetworkConfig): OwnLease {
    const own = new EtcdOwnLease({
      ...this.#options,
      records: this.#records,
      config,
      held,
      claimAddress: async (publicAddresses, signal) => {
        const lookup = { config, publicAddresses };
        await throwingStoreError(() => this.#claimSession(lookup, signal));
        this.#watchSession(own);
      },
    });
    this.#watchSession(own);
    return own;
  }

  #watchSession(own: EtcdOwnLease): void {
    const session = this.#session;
    session?.takenOver.then((hostname) => {
      if (session !== this.#session) return;
      own.lose(`node ${hostname} took over this node's public address ${session.address}`);
    });
  }

  /** Makes sure that no other live node has this node's public address. */
  async #claimSession(lookup: LeaseQuery, signal: AbortSignal): Promise<void> {
    const { etcd, clock, log, sessionTtlSeconds: ttlSeconds } = this.#options;
    const address = ownAddress(lookup);
    if (this.#session?.address === address || this.#sessionRefused) return;
    const key = this.#records.sessionKey(address);
    const node = withoutOverlay(await this.#options.node(address), lookup.config);
    try {
      const options = { etcd, key, address, node, ttlSeconds, clock, log };
      const previous = this.#session;
      this.#session = await LiveSession.claim(options, signal);
      await previous?.[Symbol.asyncDispose]();
    } catch (error) {
      if (!isPermissionDenied(error)) throw error;
      this.#sessionRefused = true;
      log.warn(
        { err: error },
        `this etcd user may not write ${key}; without it, two nodes with one public address are ` +
          "not noticed, and a node that comes back with another one gets another subnet; grant the " +
          "user write access there",
      );
    }
  }

  #leaseEvent(event: EtcdWatch): LeaseWatch {
    switch (event.kind) {
      case "snapshot": {
        const leases: Lease[] = [];
        const invalid: InvalidLease[] = [];
        forEachWithMinorGc(event.keyValues, (keyValue) => {
          const { lease } = this.#records.record(keyValue);
          if (isInvalidLease(lease)) invalid.push(lease);
          else leases.push(lease);
        });
        return { kind: "snapshot", leases, invalid, revision: event.revision };
      }
      case "put": {
        const { lease } = this.#records.record(event.keyValue);
        return isInvalidLease(lease) ? { kind: "invalid", invalid: lease } : { kind: "put", lease };
      }
      case "delete":
        return {
          kind: "delete",
          key: event.key.slice(this.#records.leasePrefix.length) as Lease["key"],
        };
    }
  }

  #untilAnswered<T>(what: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    const { log, clock } = this.#options;
    return untilStoreAnswers({ what, log, clock, signal, firstMs: 500, maxMs: 5000 }, attempt);
  }
}

/**
 * Each event as something else. A generator would hold the one that it gave last, a snapshot with
 * the text of every lease, until the next.
 */
function mapEvents<T, U>(events: AsyncIterable<T>, map: (event: T) => U): AsyncIterable<U> {
  return {
    [Symbol.asyncIterator]: () => {
      const iterator = events[Symbol.asyncIterator]();
      return {
        async next(): Promise<IteratorResult<U, undefined>> {
          const { done, value } = await iterator.next();
          return done ? { done, value: undefined } : { done: false, value: map(value) };
        },
        async return(): Promise<IteratorResult<U, undefined>> {
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

/** A lease of this node; one with another address has all fields of `PreviousLease`. */
type OwnRecord = Pick<PreviousLease, "record" | "guards"> & Partial<PreviousLease>;

/** The lower, the better. */
function preference(
  { record, address, match }: OwnRecord,
  { identity, previousSubnets }: LeaseRequest,
): number {
  const { lease, subnets, etcdLease } = record;
  const isFormer = match !== undefined;
  if (etcdLease === 0n && !isFormer) return 0;
  const carries = isFormer || !isInvalidLease(lease) && identity?.matchIn(lease.attributes);
  const isKept = isInFile(subnets, previousSubnets);
  return 1 + (carries ? 0 : 4) + (isKept ? 0 : 2) + (address === undefined ? 0 : 1);
}

/** Whether the subnet file names one of these. */
function isInFile(subnets: PerFamily<Prefix>, inFile: PerFamily<Prefix>): boolean {
  return familiesOf(subnets).some((family) => subnets[family] === inFile[family]);
}

/** Why this node cannot keep its subnets, after "SUBNET"; `undefined` if it can. */
function whyUnfit(
  record: LeaseRecord,
  others: readonly LeaseRecord[],
  { config, excluded }: LeaseRequest,
): string | undefined {
  if (!subnetsFit(config, record.subnets)) return "does not fit the network configuration";
  if (isShutOut(record, others, config)) return "overlaps an older lease";
  return containExcluded(record.subnets, excluded)
    ? "contains an address that this host uses"
    : undefined;
}

/** The family of the address that identifies a node: IPv4 if the network has it. */
function nodeFamily({ config }: Pick<LeaseQuery, "config">): Family {
  return config.families[4] === undefined ? 6 : 4;
}

/** Without the addresses in the network, which are the overlay's and no choice for --iface. */
function withoutOverlay(node: LiveNode, { families }: NetworkConfig): LiveNode {
  const networks = familiesOf(families).map((family) => families[family]?.network as Prefix);
  const interfaces = node.interfaces.map(({ name, addresses }) => ({
    name,
    addresses: addresses.filter((text) => {
      const address = parseIpAddress(text);
      return !networks.some((network) => address && prefixContainsAddress(network, address));
    }),
  }));
  return { ...node, interfaces };
}

function ownAddress(lookup: LeaseQuery): IpAddress {
  const family = nodeFamily(lookup);
  const address = lookup.publicAddresses[family];
  if (address === undefined) throw new TypeError(`this node has no public IPv${family} address`);
  return address;
}

/** The leases with this node's public address: reservations first, then the oldest. */
function ownRecords(records: readonly LeaseRecord[], lookup: LeaseQuery): LeaseRecord[] {
  const address = ownAddress(lookup);
  const family = familyOf(address);
  const own = records.filter((record) => {
    if (!mayName(record.value, address)) return false;
    const { lease } = record;
    return !isInvalidLease(lease) && lease.attributes.publicAddresses[family] === address;
  });
  return own.sort((a, b) =>
    Number(b.etcdLease === 0n) - Number(a.etcdLease === 0n) ||
    (a.createRevision < b.createRevision ? -1 : 1)
  );
}

/** An IPv4 address is written in one way only, unless JSON's escapes disguise it. */
function mayName(value: string, address: IpAddress): boolean {
  return familyOf(address) === 6 || value.includes(address) || value.includes("\\");
}

/** Whether the other nodes ignore this lease, because an older one has some of its addresses. */
function isShutOut(
  record: LeaseRecord,
  others: readonly LeaseRecord[],
  config: NetworkConfig,
): boolean {
  return others.some((other) =>
    other.createRevision < record.createRevision && subnetsFit(config, other.subnets) &&
    leasesOverlap(other.subnets, record.subnets)
  );
}

function outOfSubnetsText(config: NetworkConfig, taken: readonly unknown[]): string {
  const ranges = familiesOf(config.families).map((family) => {
    const { subnetMin, subnetMax, subnetLength } = config.families[family] ?? {};
    return `${subnetMin} to ${subnetMax} (/${subnetLength})`;
  });
  return `out of subnets: ${taken.length} leases leave none free from ${ranges.join(" or ")}; ` +
    `enlarge the network or delete leases of nodes that are gone`;
}

function subnetText(subnets: PerFamily<Prefix>): string {
  return familiesOf(subnets).map((family) => subnets[family]).join(" and ");
}

/** Whether a session's node is alive after an event; `undefined` if it concerns other keys. */
function aliveAfter(event: EtcdWatch, key: string): boolean | undefined {
  switch (event.kind) {
    case "snapshot":
      return event.keyValues.some((keyValue) => keyValue.key === key && isLiveSession(keyValue));
    case "put":
      return event.keyValue.key === key ? isLiveSession(event.keyValue) : undefined;
    case "delete":
      return event.key === key ? false : undefined;
  }
}

/** The configuration after an event; events of other keys leave it. */
function configOf(event: EtcdWatch, key: string, current: string | undefined): string | undefined {
  switch (event.kind) {
    case "snapshot":
      return event.keyValues.find((keyValue) => keyValue.key === key)?.value;
    case "put":
      return event.keyValue.key === key ? event.keyValue.value : current;
    case "delete":
      return event.key === key ? undefined : current;
  }
}

function containExcluded(
  subnets: PerFamily<Prefix>,
  excluded: readonly ExcludedAddress[] | undefined,
): boolean {
  return Object.values(subnets).some((subnet) => excludedAddressIn(subnet, excluded) !== undefined);
}
