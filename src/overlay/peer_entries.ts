import type { PerFamily } from "../addr/family.ts";
import type { EntrySource } from "../state/entry_source.ts";
import type { Resource } from "../state/resource.ts";
import type { Lease } from "../subnet/lease.ts";
import type { Backend, PeerReachability } from "./backend.ts";
import type { NodeInput } from "./node_input.ts";

export interface PeerEntriesOptions {
  readonly backend: Backend;
  /** One object for all peers, until it changes. */
  readonly input: NodeInput;
  readonly reachability: PeerReachability;
}

/** A valid peer's entries, computed by the backend each time that they are needed. */
export class PeerEntries implements EntrySource {
  readonly #backend: Backend;
  readonly #peer: Lease;
  readonly #input: NodeInput;
  readonly #reachability: PeerReachability;

  constructor(peer: Lease, { backend, input, reachability }: PeerEntriesOptions) {
    this.#backend = backend;
    this.#peer = peer;
    this.#input = input;
    this.#reachability = shared(reachability);
  }

  get precedence(): bigint {
    return this.#peer.changed;
  }

  entries(): Resource[] {
    return this.#backend.peer(this.#peer, this.#input, this.#reachability);
  }
}

/** Without the path, which appears only in messages: few differ, and the peers share these. */
function shared({ direct }: PeerReachability): PeerReachability {
  const id = `${direct[4]} ${direct[6]}`;
  let reachability = SHARED.get(id);
  if (reachability === undefined) SHARED.set(id, reachability = withoutPath(direct));
  return reachability;
}

/** At most nine: each family is reached directly or not, or that is unknown. */
const SHARED = new Map<string, PeerReachability>();

function withoutPath(direct: PerFamily<boolean>): PeerReachability {
  return { direct, path: {} };
}
