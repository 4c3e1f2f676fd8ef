/** The document of `GET /v1/peers`; see `status_document.ts`. */

export interface PeersDocument {
  readonly peers: readonly PeerDocument[];
}

export interface PeerDocument {
  /** Its key in the store. */
  readonly lease: string;
  /** IPv4 first; empty if the lease is not valid. */
  readonly subnets: readonly string[];
  readonly publicAddresses: readonly string[];
  readonly path: "tunnel" | "direct" | "unreachable" | "ignored" | "departing";
  /** Its VTEP MAC addresses, or public keys. */
  readonly identities: readonly string[];
  /** Why it cannot be used or reached. */
  readonly problem: string | null;
  /** What the kernel should hold for it; `null` unless the query selects peers. */
  readonly entries: readonly EntryDocument[] | null;
}

export interface EntryDocument {
  /** Identifies it in the kernel's tables. Its first word is the kind. */
  readonly key: string;
  /** The device that it is on; `null` if it is on none. */
  readonly device: string | null;
  /** In the notation of `ip` and `bridge`; without secrets. */
  readonly text: string;
}
