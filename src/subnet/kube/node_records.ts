/**
 * What is known of all nodes, and which of their leases have changed since they were last taken.
 *
 * A change is taken as the difference to what was taken before, so that nothing can overflow: if
 * changes come faster than they are taken, those of one node become one.
 */

import type { IpAddress } from "../../addr/ip.ts";
import { valuesOf } from "../../addr/family.ts";
import type { KubeListedNode, KubeNodeMetadata } from "../../kube/kube_api.ts";
import type { InvalidLease, Lease, LeaseWatch } from "../lease.ts";
import { isInvalidLease } from "../lease_codec.ts";
import { packLease } from "../packed_lease.ts";
import {
  decodeNodeLease,
  isManaged,
  leaseValues,
  nodeLeaseKey,
  type NodeRules,
} from "./node_annotations.ts";

export class NodeRecords {
  readonly #rules: NodeRules;
  readonly #nodes = new Map<string, NodeRecord>();
  /** The state of each node that has a lease, until its pod CIDRs are known. */
  readonly #incomplete = new Map<string, KubeNodeMetadata>();
  /** Names of nodes whose lease has changed since it was taken. */
  readonly #changed = new Set<string>();

  constructor(rules: NodeRules) {
    this.#rules = rules;
  }

  get size(): number {
    return this.#nodes.size;
  }

  /** Whether `takeChange` returns one. */
  get hasChange(): boolean {
    return this.#changed.size > 0;
  }

  /** Names of nodes whose pod CIDRs are to be read: they have a lease without a subnet. */
  get incomplete(): string[] {
    return [...this.#incomplete.keys()];
  }

  isIncomplete(name: string): boolean {
    return this.#incomplete.has(name);
  }

  /** Names of nodes that have this public address. */
  withAddress(address: IpAddress): string[] {
    return [...this.#nodes].filter(([, { lease }]) =>
      lease !== undefined && !isInvalidLease(lease) &&
      valuesOf(lease.attributes.publicAddresses).includes(address)
    ).map(([name]) => name);
  }

  /** A node's state. The pod CIDRs of a known node are kept: they do not change. */
  put(node: KubeNodeMetadata): void {
    const known = this.#nodes.get(node.name);
    const values = leaseValues(node, this.#rules.names);
    if (known?.uid === node.uid) {
      if (areEqual(known.values, values)) return;
      this.#set(node, values, known.podCidrs);
    } else {
      this.#set(node, values, undefined);
    }
  }

  /** As `put`, with the pod CIDRs; none if they are not assigned yet. */
  putWithPodCidrs(node: KubeListedNode): void {
    this.#set(node, leaseValues(node, this.#rules.names), node.podCidrs);
  }

  /** Takes only the pod CIDRs: the rest may be older than what the watch has reported since. */
  complete({ name, uid, podCidrs }: KubeListedNode): void {
    const node = this.#incomplete.get(name);
    if (node?.uid !== uid) return;
    this.#set(node, leaseValues(node, this.#rules.names), podCidrs);
  }

  delete(name: string): void {
    if (this.#nodes.get(name)?.lease !== undefined) this.#changed.add(name);
    this.#nodes.delete(name);
    this.#incomplete.delete(name);
  }

  /** Deletes all other nodes. */
  retain(names: ReadonlySet<string>): void {
    for (const name of this.#nodes.keys()) if (!names.has(name)) this.delete(name);
  }

  /** All leases. From now on, only changes to them are taken. */
  snapshot(): Extract<LeaseWatch, { readonly kind: "snapshot" }> {
    this.#changed.clear();
    const leases: Lease[] = [];
    const invalid: InvalidLease[] = [];
    let revision = 0n;
    for (const { lease } of this.#nodes.values()) {
      if (lease === undefined) continue;
      if (isInvalidLease(lease)) {
        invalid.push(lease);
        continue;
      }
      leases.push(lease);
      if (lease.changed > revision) revision = lease.changed;
    }
    return { kind: "snapshot", leases, invalid, revision };
  }

  /** The next change; `undefined` if there is none. */
  takeChange(): LeaseWatch | undefined {
    const [name] = this.#changed;
    if (name === undefined) return undefined;
    this.#changed.delete(name);
    const lease = this.#nodes.get(name)?.lease;
    if (lease === undefined) return { kind: "delete", key: nodeLeaseKey(name) };
    return isInvalidLease(lease) ? { kind: "invalid", invalid: lease } : { kind: "put", lease };
  }

  #set(
    node: KubeNodeMetadata,
    values: NodeRecord["values"],
    podCidrs: readonly string[] | undefined,
  ): void {
    const before = this.#nodes.get(node.name)?.lease;
    const managed = isManaged(node, this.#rules.names);
    const decoded = managed && podCidrs ? decodeNodeLease(node, podCidrs, this.#rules) : undefined;
    const lease = decoded && !isInvalidLease(decoded) ? packLease(decoded) : decoded;
    const isComplete = podCidrs !== undefined && podCidrs.length > 0;
    this.#nodes.set(node.name, {
      uid: node.uid,
      values,
      podCidrs: isComplete ? podCidrs : undefined,
      lease,
    });
    if (managed && !isComplete) this.#incomplete.set(node.name, node);
    else this.#incomplete.delete(node.name);
    if (lease !== undefined || before !== undefined) this.#changed.add(node.name);
  }
}

interface NodeRecord {
  readonly uid: string;
  /** The annotations on which the lease depends. */
  readonly values: readonly (string | undefined)[];
  /** `undefined` until they are assigned and known. */
  readonly podCidrs: readonly string[] | undefined;
  readonly lease: Lease | InvalidLease | undefined;
}

function areEqual<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i]);
}
