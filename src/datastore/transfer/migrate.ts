/**
 * Copies a running store to another one, and makes sure that the copy is complete.
 *
 * What changes while the copy is made is copied in a further round, until a round finds nothing. A
 * later run copies what has changed since an earlier one, and keeps what a daemon that has moved has
 * written meanwhile: the histories tell which of two versions is the newer one.
 */

import { DatastoreError } from "../mvcc/datastore_error.ts";
import { keyText } from "../mvcc/key_interval.ts";
import { type Dump, type DumpedEntry, type DumpedLease, readDump } from "./dump.ts";
import { mapConcurrently } from "./map_concurrently.ts";
import { isAhead } from "./history.ts";
import type { RemoteEtcd } from "./remote_etcd.ts";
import {
  compareWith,
  isSame,
  listed,
  otherValues,
  outlastedLeases,
  type Present,
  removeEntries,
  renewLeases,
  writeEntries,
} from "./restore.ts";

/** Renewals change leases, not keys, so that a network at rest needs two. */
const ROUNDS = 5;

interface MigrateOptions {
  /** Replace keys of which it cannot be told which version is the newer one. */
  readonly overwrite: boolean;
  /** Gets one line for each step. */
  readonly report: (line: string) => void;
}

/** Throws `DatastoreError`. */
export async function migrate(
  from: RemoteEtcd,
  to: RemoteEtcd,
  options: MigrateOptions,
): Promise<void> {
  const { overwrite, report } = options;
  let dump = await readDump(from);
  assertNotEmpty(from, dump);
  let plan = await planCopy({ from, to, overwrite }, dump);
  await writeEntries(to, { entries: plan.copied, leases: dump.leases }, plan.present);
  report(
    `copied ${plan.copied.length} keys from ${from.endpoints} to ${to.endpoints}` + rest(plan),
  );
  await renew(to, dump, report);
  let changed: readonly DumpedEntry[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const before = dump;
    dump = await readDump(from);
    plan = await planCopy({ from, to, overwrite }, dump, before);
    const deleted = await withoutRenewed(to, missingFrom(dump, before), before.leases);
    changed = [...plan.copied, ...deleted];
    if (changed.length === 0) return report(verified(dump, plan));
    await writeEntries(to, { entries: plan.copied, leases: dump.leases }, plan.present);
    await removeEntries(to, deleted);
    report(`copied ${plan.copied.length} changes and ${deleted.length} deletions made meanwhile`);
  }
  throw new DatastoreError(
    `the copy does not come to rest: ${from.endpoints} changes all the time, at last ` +
      `${listed(changed)}; run this again`,
  );
}

function assertNotEmpty({ endpoints }: RemoteEtcd, { entries }: Dump): void {
  if (entries.length > 0) return;
  throw new DatastoreError(`there is nothing to copy: ${endpoints} holds no keys`);
}

interface Plan {
  /** What the store that is copied to holds at present. */
  readonly present: Present;
  readonly copied: readonly DumpedEntry[];
  /** Keys that are newer where they are copied to. */
  readonly keptCount: number;
  /** Keys that are equal. */
  readonly equalCount: number;
}

/**
 * What is to be copied. `before` is what this run has copied already. Throws `DatastoreError` for
 * keys of which it cannot be told which version is the newer one, unless they may be overwritten.
 */
async function planCopy(
  { from, to, overwrite }: { from: RemoteEtcd; to: RemoteEtcd; overwrite: boolean },
  { entries }: Dump,
  before?: Dump,
): Promise<Plan> {
  const { present, different } = await compareWith(to, entries);
  const own = new Map(before?.entries.map((entry) => [keyText(entry.key), entry]));
  const judged = await mapConcurrently(different, async (entry) => {
    const other = present.get(keyText(entry.key));
    const isOwn = other === undefined || isSame(own.get(keyText(entry.key)), other);
    return { entry, newer: isOwn ? "from" : await newerOf({ from, to }, entry, other) };
  });
  const having = (newer: string) =>
    judged.filter((one) => one.newer === newer).map(({ entry }) => entry);
  const unknown = having("unknown");
  if (unknown.length > 0 && !overwrite) {
    throw otherValues(to, unknown, before === undefined ? "nothing was written; " : "");
  }
  return {
    present,
    copied: [...having("from"), ...unknown],
    keptCount: having("to").length,
    equalCount: entries.length - different.length,
  };
}

/** Which of the stores has the newer version of a key; both may have changed since they were equal. */
async function newerOf(
  { from, to }: { from: RemoteEtcd; to: RemoteEtcd },
  entry: DumpedEntry,
  other: DumpedEntry,
): Promise<"from" | "to" | "unknown"> {
  const [fromAhead, toAhead] = await Promise.all([isAhead(from, other), isAhead(to, entry)]);
  if (fromAhead === toAhead) return "unknown";
  return fromAhead ? "from" : "to";
}

function rest({ equalCount, keptCount }: Plan): string {
  return (equalCount > 0 ? `; ${equalCount} were there already` : "") +
    (keptCount > 0 ? `; ${keptCount} are newer there and stay` : "");
}

function verified({ entries, leases }: Dump, { equalCount, keptCount }: Plan): string {
  const keys = keptCount > 0
    ? `${equalCount} keys are equal and ${keptCount} newer`
    : `all ${entries.length} keys are equal`;
  return `verified: ${keys}, with ${leases.length} leases`;
}

async function renew(
  to: RemoteEtcd,
  { leases }: Dump,
  report: MigrateOptions["report"],
): Promise<void> {
  const renewed = await renewLeases(to, leases);
  if (renewed.length === 0) return;
  const shortest = renewed.reduce((least, seconds) => seconds < least ? seconds : least);
  report(
    `renewed ${renewed.length} leases that had run short there, the shortest for ${shortest} s`,
  );
}

/**
 * The entries without those whose lease has been renewed in the store that is copied to: their node
 * has moved, and where it was its lease has run out.
 */
async function withoutRenewed(
  to: RemoteEtcd,
  entries: readonly DumpedEntry[],
  leases: readonly DumpedLease[],
): Promise<DumpedEntry[]> {
  const ids = new Set(entries.map(({ lease }) => lease));
  const renewed = new Set(await outlastedLeases(to, leases.filter(({ id }) => ids.has(id))));
  return entries.filter(({ lease }) => !renewed.has(lease));
}

/** What the earlier dump has and the later one has not. */
function missingFrom(later: Dump, earlier: Dump): DumpedEntry[] {
  const keys = new Set(later.entries.map(({ key }) => keyText(key)));
  return earlier.entries.filter(({ key }) => !keys.has(keyText(key)));
}
