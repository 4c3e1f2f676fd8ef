/** Dumps the kernel's tables and loads them into the cache. */

import type { Kernel } from "../kernel/kernel.ts";
import { dumpedKinds } from "../state/resource.ts";
import type { ReconcilerParts } from "./reconciler_parts.ts";
import type { ResyncScope } from "./resync_queue.ts";

const KINDS = dumpedKinds(({ when }) => when === "always");
const KINDS_WITHOUT_DEVICES = dumpedKinds(({ when, extent }) =>
  when === "always" && extent === "table"
);

export interface DumpLoaderOptions {
  readonly kernel: Kernel;
  /** Reads a file below /proc/sys; `undefined` if there is none. */
  readonly readSysctl: ((path: string) => Promise<string | undefined>) | undefined;
}

export class DumpLoader {
  readonly #options: DumpLoaderOptions;
  readonly #parts: ReconcilerParts;

  constructor(options: DumpLoaderOptions, parts: ReconcilerParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** If it fails or is stale, the resync queue requests another dump. */
  async load(scope: ResyncScope): Promise<void> {
    const { resync, cache, planner } = this.#parts;
    const { links: ours, extraKinds = [] } = planner.ownership;
    const links = scope === "all" ? ours : new Set([...scope].filter((name) => ours.has(name)));
    resync.begin(scope);
    cache.beginDump();
    try {
      const kinds = links.size > 0 ? KINDS : KINDS_WITHOUT_DEVICES;
      const resources = await this.#options.kernel.dump([...kinds, ...extraKinds], links);
      if (cache.isDumpStale) return;
      const wasDumped = (name: string) => scope === "all" || scope.has(name);
      resync.load(wasDumped, () => cache.load(resources, links));
      if (scope === "all") await this.#readSysctls();
      this.#onLoaded(scope);
    } catch (error) {
      resync.failed(scope, error);
    } finally {
      cache.endDump();
    }
  }

  /** Adds the entries that are not desired to the work list, so that the stale ones are deleted. */
  checkUndesired(): void {
    const { table, work } = this.#parts;
    for (const entry of table.records()) {
      if (entry.desired === undefined) work.add(entry);
    }
  }

  async #readSysctls(): Promise<void> {
    const read = this.#options.readSysctl;
    if (read === undefined) return;
    const { table, cache } = this.#parts;
    for (const entry of [...table.records()]) {
      const { desired } = entry;
      if (desired?.kind !== "sysctl") continue;
      const value = (await read(desired.path))?.trim();
      cache.observe(entry, value === undefined ? undefined : { ...desired, value });
    }
  }

  #onLoaded(scope: ResyncScope): void {
    const { resync, planner, repairLimiter } = this.#parts;
    const wasVerified = resync.isVerified;
    resync.succeeded(scope);
    if (scope !== "all") return;
    if (!wasVerified && planner.isDesiredComplete) this.checkUndesired();
    repairLimiter.forgetOld();
  }
}
