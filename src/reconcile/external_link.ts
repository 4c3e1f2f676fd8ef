/** The interface that carries this daemon's packets, as the kernel was last seen to have it. */

import type { Address, Link } from "../state/resource.ts";
import type { ResyncQueue } from "./resync_queue.ts";
import type { Failures } from "./failures.ts";
import type { WorkList } from "./work_list.ts";

export interface ExternalLinkOptions {
  readonly resync: ResyncQueue;
  readonly work: WorkList;
  readonly failures: Failures;
  /** It changed: gone, back, up, down, another MTU, another address. */
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

  /** `undefined` as long as it is not there. */
  get link(): Link | undefined {
    return this.#link;
  }

  /** Another interface, or none, carries the packets from now on. */
  rename(name: string | undefined): void {
    if (this.#link?.name !== name) this.#link = undefined;
    this.#name = name;
  }

  observe(link: Link | undefined): void {
    const changes = this.#changesTo(link);
    this.#link = link;
    if (changes.length === 0 || this.#name === undefined) return;
    const { resync: readings, work, failures: troubles, onChanged } = this.#options;
    readings.request(this.#name);
    if (link !== undefined) work.wake(this.#name);
    for (const entry of troubles.entries()) {
      if (entry.failure?.kind === "failing") work.add(entry);
    }
    onChanged?.(changes.join(", "));
  }

  observeAddress({ address }: Address, deleted: boolean): void {
    this.#options.onChanged?.(`address ${address} was ${deleted ? "removed" : "set"}`);
  }

  #changesTo(link: Link | undefined): string[] {
    const before = this.#link;
    if (link === undefined) return before === undefined ? [] : ["it is gone"];
    // That it is there when it is first looked for is no change.
    if (before === undefined) return this.#options.resync.hasDumpedAll ? ["it is there"] : [];
    const changes: string[] = [];
    if (before.up !== link.up) changes.push(link.up ? "it is up" : "it is down");
    if (before.mtuBytes !== link.mtuBytes) changes.push(`its MTU is ${link.mtuBytes}`);
    return changes;
  }
}
