/** How a node gets its subnet: it keeps a lease that it has, or takes a free subnet. */

import { entriesOf, mapFamilies, type PerFamily } from "../../addr/family.ts";
import { type Family, familyOf } from "../../addr/ip.ts";
import { hostPrefix, type Prefix } from "../../addr/prefix.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { Etcd } from "../../etcd/client/etcd.ts";
import type { Log } from "../../log/log.ts";
import { allocateSubnets, subnetFits } from "../allocation.ts";
import type { Lease } from "../lease.ts";
import { encodeLeaseKey, encodeLeaseValue, isInvalidLease } from "../lease_codec.ts";
import type { LeaseRequest } from "../lease_store.ts";
import { OutOfSubnetsError } from "./allocation_errors.ts";
import type { HeldLease } from "./etcd_own_lease.ts";
import {
  claimedSubnets,
  type LeaseRecord,
  type LeaseRecords,
  leasesOverlap,
} from "./lease_records.ts";
import type { NodeSession } from "./node_session.ts";
import {
  isInFile,
  nodeFamily,
  type OwnRecord,
  ownRecords,
  preference,
  subnetText,
  whyUnfit,
} from "./own_records.ts";
import { SUBNET_TTL_SECONDS, UnusedLease } from "./unused_lease.ts";

export interface SubnetAcquisitionOptions {
  readonly etcd: Etcd;
  readonly records: LeaseRecords;
  readonly session: NodeSession;
  readonly clock: Clock;
  readonly log: Log;
  readonly request: LeaseRequest;
  /** The leases that were read a moment ago, if they are recent enough to be used again. */
  readonly takeRecords: () => readonly LeaseRecord[] | undefined;
}

export class SubnetAcquisition implements AsyncDisposable {
  readonly #options: SubnetAcquisitionOptions;
  /** Attached to the key that is written; all attempts share it. */
  readonly #unusedLease: UnusedLease;

  constructor(options: SubnetAcquisitionOptions) {
    this.#options = options;
    this.#unusedLease = new UnusedLease(options.etcd);
  }

  /** Revokes the etcd lease if no key was attached to it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#unusedLease[Symbol.asyncDispose]();
  }

  /**
   * Retries while other nodes are faster. Throws `OutOfSubnetsError`, `DuplicateNodeError` and
   * `EtcdError`; after an `EtcdError` it may be called again.
   */
  async run(signal: AbortSignal): Promise<HeldLease> {
    const { clock } = this.#options;
    for (let races = 0;; races++) {
      const held = await this.#unusedLease.attempt(() => this.#tryOnce(signal));
      if (held !== undefined) return held;
      // Nodes that started together choose again at different times.
      await sleep(clock, clock.random() * Math.min(20 * (races + 1), 500), signal);
      signal.throwIfAborted();
    }
  }

  /** `undefined` if another node was faster. */
  async #tryOnce(signal: AbortSignal): Promise<HeldLease | undefined> {
    const { records: store, takeRecords, request } = this.#options;
    // If a lease has changed since, the write that depends on it fails, and the next attempt reads
    // all leases again.
    const records = takeRecords() ?? await store.all(signal);
    const own = await this.#ownLeases(records, signal);
    const foreign = records.filter((record) => !own.some((one) => one.record === record));
    const defect = ({ record }: OwnRecord) => whyUnfit(record, foreign, request);
    const fitting = own.find((one) => defect(one) === undefined);
    if (fitting !== undefined) {
      const held = await this.#keep(fitting, signal);
      if (held !== undefined) await this.#deleteSurplus(own, fitting, signal);
      return held;
    }
    const deleted = await this.#deleteUnfitting(own, defect, signal);
    const others = records.filter((record) => !deleted.includes(record));
    const held = await this.#create(this.#choose(others), signal);
    if (held !== undefined) this.#warnOfNewSubnet(others, held);
    return held;
  }

  /**
   * This node's leases, in order of preference: a reservation for its address, a lease with its
   * device's identity, the one in the subnet file, the oldest.
   */
  async #ownLeases(records: readonly LeaseRecord[], signal: AbortSignal): Promise<OwnRecord[]> {
    const { session, request } = this.#options;
    const { config, attributes: { publicAddresses }, identity } = request;
    const named = ownRecords(records, { config, publicAddresses });
    const others = records.filter((record) => !named.includes(record));
    const previous = identity === undefined
      ? []
      : await session.previousLeases(others, { identity, config, publicAddresses }, signal);
    return [...named.map((record) => ({ record, guards: [] })), ...previous]
      .toSorted((a, b) => preference(a, request) - preference(b, request));
  }

  /** Keeps the subnet of a lease of this node. */
  async #keep(
    { record, guards, address }: OwnRecord,
    signal: AbortSignal,
  ): Promise<HeldLease | undefined> {
    const { etcd, records, clock, log, request: { attributes, previousSubnets } } = this.#options;
    const lease = record.lease as Lease;
    let ttlSeconds = Infinity;
    let etcdLease = record.etcdLease;
    if (etcdLease !== 0n) {
      ttlSeconds = await etcd.keepLeaseAlive(etcdLease, signal);
      if (ttlSeconds <= 0) return undefined;
      if (ttlSeconds < SUBNET_TTL_SECONDS) {
        etcdLease = await this.#unusedLease.id(signal);
        ttlSeconds = SUBNET_TTL_SECONDS;
      }
    }
    const expiresMs = clock.nowMs() + ttlSeconds * 1000;
    const value = encodeLeaseValue(attributes);
    let changed: bigint | undefined = record.modRevision;
    if (value !== record.value || etcdLease !== record.etcdLease) {
      const write = { key: lease.key, value, etcdLease };
      changed = await records.replace(write, record.modRevision, signal, guards);
      if (changed === undefined) return undefined;
    }
    // An earlier attempt whose response was lost may also have attached it.
    this.#unusedLease.release(etcdLease);
    const kind = etcdLease === 0n ? "reservation" : "lease";
    const before = address === undefined ? "" : `, held before with the public address ${address}`;
    const isNew = etcdLease === 0n && address === undefined &&
      !isInFile(lease.subnets, previousSubnets);
    log.info(
      { lease: lease.key },
      `${isNew ? "taking" : "reusing"} this node's ${kind} of ${
        subnetText(lease.subnets)
      }${before}`,
    );
    return { lease: { ...lease, attributes, changed }, etcdLease, expiresMs };
  }

  /**
   * Deletes leases of this node that it cannot keep. Reservations belong to the operator and stay.
   */
  async #deleteUnfitting(
    own: readonly OwnRecord[],
    defect: (one: OwnRecord) => string | undefined,
    signal: AbortSignal,
  ): Promise<LeaseRecord[]> {
    const { records, log } = this.#options;
    for (const one of own) {
      const { record, guards } = one;
      const { lease, subnets, etcdLease, modRevision } = record;
      const what = `of ${subnetText(subnets)}: it ${defect(one)}`;
      if (etcdLease === 0n) {
        log.warn(
          { lease: lease.key },
          `cannot use the reservation ${what}; delete the reservation`,
        );
      } else {
        log.info({ lease: lease.key }, `deleting this node's lease ${what}`);
        await records.delete(lease.key, modRevision, signal, guards);
      }
    }
    return own.map(({ record }) => record).filter(({ etcdLease }) => etcdLease !== 0n);
  }

  /**
   * Deletes the other leases of this node, for example after the operator has made a reservation.
   * The other nodes would treat them as a second node with this address or, where the address
   * identifies a node, as in IKE, as this node.
   */
  async #deleteSurplus(
    own: readonly OwnRecord[],
    kept: OwnRecord,
    signal: AbortSignal,
  ): Promise<void> {
    const { records, log } = this.#options;
    for (const one of own) {
      if (one === kept) continue;
      const { lease, subnets, modRevision, etcdLease } = one.record;
      if (etcdLease !== 0n) {
        log.info(
          { lease: lease.key },
          `deleting this node's lease of ${subnetText(subnets)}: this node has ` +
            `${subnetText(kept.record.subnets)} now`,
        );
        await records.delete(lease.key, modRevision, signal, one.guards);
      } else if (one.match !== undefined) {
        log.warn(
          { lease: lease.key },
          `the reservation of ${subnetText(subnets)} for ${one.address} contains this node's ` +
            `${one.match}; Go flannel on other nodes may send this node's packets to that ` +
            "address; delete the reservation or its BackendData",
        );
      }
    }
  }

  /** The subnets of the subnet file if they are free, otherwise random ones. */
  #choose(records: readonly LeaseRecord[]): PerFamily<Prefix> {
    const { clock, request } = this.#options;
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
    const randomIndex = (limit: number) => Math.floor(clock.random() * limit);
    const chosen = allocateSubnets(missing, taken, randomIndex);
    if (chosen === undefined) throw outOfSubnets(request.config, records);
    return { ...previous, ...chosen };
  }

  async #create(
    subnets: PerFamily<Prefix>,
    signal: AbortSignal,
  ): Promise<HeldLease | undefined> {
    const { records, clock, log, request: { config, attributes } } = this.#options;
    const key = encodeLeaseKey(subnets);
    const etcdLease = await this.#unusedLease.id(signal);
    const write = { key, value: encodeLeaseValue(attributes), etcdLease };
    const expiresMs = clock.nowMs() + SUBNET_TTL_SECONDS * 1000;
    const creation = await records.create(write, config.families, signal);
    if (creation.kind !== "created") {
      log.info({ lease: key }, `another node took ${subnetText(subnets)} first; choosing again`);
      if (creation.kind === "overlaps") await this.#unusedLease.revoke(signal);
      return undefined;
    }
    this.#unusedLease.release(etcdLease);
    log.info({ lease: key }, `took the subnet ${subnetText(subnets)}`);
    const { revision } = creation;
    const lease = { key, subnets, attributes, created: revision, changed: revision };
    return { lease, etcdLease, expiresMs };
  }

  /** The workloads still have addresses of the subnet that the subnet file names. */
  #warnOfNewSubnet(
    others: readonly LeaseRecord[],
    { lease: { key, subnets } }: HeldLease,
  ): void {
    const { log, request: { previousSubnets, config } } = this.#options;
    for (const [family, subnet] of entriesOf(subnets)) {
      const previous = previousSubnets[family];
      if (previous === undefined || previous === subnet) continue;
      const holder = others.find((record) =>
        leasesOverlap(claimedSubnets(record, config.families), { [family]: previous })
      );
      const { reason, cure } = holder === undefined
        ? { reason: "cannot be used any more", cure: "" }
        : this.#holderText(holder);
      log.warn(
        { lease: key },
        `the subnet changed from ${previous} (subnet file) to ${subnet}: ${previous} ${reason}; ` +
          `give the workloads new addresses (restart Docker)${cure}`,
      );
    }
  }

  #holderText({ lease }: LeaseRecord): { readonly reason: string; readonly cure: string } {
    const { records, request: { config } } = this.#options;
    const address = isInvalidLease(lease)
      ? undefined
      : lease.attributes.publicAddresses[nodeFamily(config)];
    const command = `etcdctl del ${records.leaseKey(lease.key)}`;
    return address === undefined
      ? {
        reason: `overlaps lease ${lease.key}`,
        cure: `. If no other node has that lease: ${command}`,
      }
      : {
        reason: `is leased to the node with the public address ${address}`,
        cure:
          `. If no other node has that address, delete the lease and restart flanneld: ${command}`,
      };
  }
}

function outOfSubnets(config: NetworkConfig, taken: readonly unknown[]): OutOfSubnetsError {
  const ranges = entriesOf(config.families).map(([, { subnetMin, subnetMax, subnetLength }]) =>
    `${subnetMin} to ${subnetMax} (/${subnetLength})`
  );
  return new OutOfSubnetsError(
    `out of subnets: ${taken.length} leases leave none free from ${ranges.join(" or ")}; enlarge ` +
      "the network or delete the leases of nodes that no longer exist",
    { leases: taken.length },
  );
}
