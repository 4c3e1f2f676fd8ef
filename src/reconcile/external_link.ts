/** The interface that carries this node's packets, as the kernel last showed it. */

import type { Address, Link } from "../state/resource.ts";
import type { ResyncQueue } from "./resync_queue.ts";
import type { Failures } from "./failures.ts";
import type { EntryChange } from "./own_changes.ts";
import type { WorkList } from "./work_list.ts";

export interface ExternalLinkOptions {
  readonly resync: ResyncQueue;
  readonly work: WorkList;
  readonly failures: Failures;
  /** It was deleted, created, set up or down, or got another MTU or address. */
  readonly onChanged: ((reason: string) => void) | undefined;
}

export class ExternalLink {
  readonly #options: ExternalLinkOptions;
  #name: string | undefined;
  #link: Link | undefined;

  constructor(options: ExternalLinkOptions) {
    this.#options = options;
  }

  get name(): string | undefined {
    return this.#name;
  }

  /** `undefined` while it does not exist. */
  get link(): Link | undefined {
    return this.#link;
  }

  /** From now on another interface, or none, carries the packets. */
  setName(name: string | undefined): void {
    if (this.#link?.name !== name) this.#link = undefined;
    this.#name = name;
  }

  observe(link: Link | undefined): void {
    const changes = this.#changesTo(link);
    this.#link = link;
    if (changes.length === 0 || this.#name === undefined) return;
    const { resync, work, failures, onChanged } = this.#options;
    resync.request(this.#name);
    if (link !== undefined) work.wake(this.#name);
    for (const entry of failures.entries()) {
      if (entry.failure?.kind === "failing") work.add(entry);
    }
    onChanged?.(changes.join(", "));
  }

  observeAddress({ resource: { address }, deleted }: EntryChange<Address>): void {
    this.#options.onChanged?.(`address ${address} ${deleted ? "deleted" : "set"}`);
  }

  #changesTo(link: Link | undefined): string[] {
    const before = this.#link;
    if (link === undefined) return before === undefined ? [] : ["deleted"];
    // The interface is not new merely because the first dump shows it.
    if (before === undefined) return this.#options.resync.hasDumpedAll ? ["created"] : [];
    const changes: string[] = [];
    if (before.up !== link.up) changes.push(link.up ? "up" : "down");
    if (before.mtuBytes !== link.mtuBytes) changes.push(`MTU ${link.mtuBytes}`);
    return changes;
  }
}
