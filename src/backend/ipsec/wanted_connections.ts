/** The connections that the leases ask for, one for each peer. */

import type { Lease, LeaseKey } from "../../subnet/lease.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { CharonConnection } from "./charon_connection.ts";

/** Connections by name. */
export type CharonConnections = ReadonlyMap<string, CharonConnection>;

export class WantedConnections {
  readonly #connectionOf: (peer: Lease, input: NodeInput) => CharonConnection;
  readonly #peers = new Map<LeaseKey, Lease>();
  #byPeer = new Map<LeaseKey, CharonConnection>();
  #input: NodeInput | undefined;

  constructor(connectionOf: (peer: Lease, input: NodeInput) => CharonConnection) {
    this.#connectionOf = connectionOf;
  }

  /** There are no connections before the first input. */
  setInput(input: NodeInput): void {
    this.#input = input;
    this.#byPeer = new Map();
    for (const peer of this.#peers.values()) this.#add(peer, input);
  }

  put(peer: Lease): void {
    this.#peers.set(peer.key, peer);
    if (this.#input !== undefined) this.#add(peer, this.#input);
  }

  remove(peer: Lease): void {
    this.#peers.delete(peer.key);
    this.#byPeer.delete(peer.key);
  }

  all(): Iterable<CharonConnection> {
    return this.#byPeer.values();
  }

  /** As of now, without later changes. */
  byName(): CharonConnections {
    return new Map([...this.all()].map((connection) => [connection.name, connection]));
  }

  #add(peer: Lease, input: NodeInput): void {
    this.#byPeer.set(peer.key, this.#connectionOf(peer, input));
  }
}
