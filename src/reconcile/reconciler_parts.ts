/** The parts that a pass of the reconciler works with, connected to each other. */

import type { Clock } from "../base/clock.ts";
import type { RepairHistory } from "../base/repair_history.ts";
import { RepairLimiter } from "../base/repair_limiter.ts";
import type { Log } from "../log/log.ts";
import type { ResourceKey } from "../state/resource.ts";
import { EntryPlanner } from "./entry_planner.ts";
import { EntryTable } from "./entry_table.ts";
import { ExternalLink } from "./external_link.ts";
import { Failures } from "./failures.ts";
import { KernelCache } from "./kernel_cache.ts";
import { ResyncQueue } from "./resync_queue.ts";
import { WorkList } from "./work_list.ts";

/** Thousands of entries may be modified again and again. */
const MAX_REPAIR_DELAY_MS = 60_000;

export interface ReconcilerPartsOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Interval between full dumps, plus or minus a tenth. */
  readonly resyncMs: number;
  readonly onWork: () => void;
  readonly onExternalChanged: ((reason: string) => void) | undefined;
  readonly repairs?: RepairHistory | undefined;
}

export interface ReconcilerParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly table: EntryTable;
  readonly failures: Failures;
  readonly work: WorkList;
  readonly resync: ResyncQueue;
  readonly external: ExternalLink;
  readonly planner: EntryPlanner;
  readonly cache: KernelCache;
  readonly repairLimiter: RepairLimiter<ResourceKey>;
  readonly repairs: RepairHistory | undefined;
}

export function connectParts(options: ReconcilerPartsOptions): ReconcilerParts {
  const { clock, log, resyncMs, onWork, onExternalChanged: onChanged, repairs } = options;
  const failures = new Failures({ clock, log });
  const work = new WorkList({ clock, onWork });
  const resync = new ResyncQueue({ clock, log, resyncMs, onWork });
  const table = new EntryTable({
    onKeyConflict: (conflict) => failures.reportKeyConflict(conflict),
    onInconsistent: (owner) => {
      log.error({ lease: owner }, "lost track of a lease's entries; reading the kernel tables");
      resync.requestAllNow();
    },
    seed: clock.random(),
  });
  const external = new ExternalLink({ resync, work, failures, onChanged });
  const planner = new EntryPlanner({ table, external, resync });
  const cache = new KernelCache({ clock, table, planner, external, work, resync, failures });
  const repairLimiter = new RepairLimiter<ResourceKey>({ clock, maxDelayMs: MAX_REPAIR_DELAY_MS });
  return {
    clock,
    log,
    table,
    failures,
    work,
    resync,
    external,
    planner,
    cache,
    repairLimiter,
    repairs,
  };
}
