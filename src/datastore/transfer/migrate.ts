/**
 * Copies a store that is in use to another one, and verifies that the copy is complete.
 *
 * Changes during the copy are copied in further rounds, until a round finds none. A later run
 * copies what has changed since, and keeps what daemons that have already moved have written: the
 * histories of the stores show which of two versions is newer.
 */

import { DatastoreError } from "../mvcc/datastore_error.ts";
import { keyText } from "../mvcc/key_interval.ts";
import { type Dump, type DumpedEntry, type DumpedLease, readDump } from "./dump.ts";
import { mapConcurrently } from "../../base/map_concurrently.ts";
import { heldEarlier } from "./history.ts";
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

/** Keep-alives change leases, not keys, so that an idle network needs two rounds. */
const ROUNDS = 5;

interface MigrateOptions {
  /** Also replace keys if it is unknown which version is newer. */
  readonly overwrite: boolean;
  /** Receives one line for each step. */
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
    report(
      `copied ${plan.copied.length} changes and ${deleted.length} deletions made in the meantime`,
    );
  }
  throw new DatastoreError(
    `cannot complete the copy: ${from.endpoints} keeps changing, last ${listed(changed)}; ` +
      "run migrate again",
  );
}

function assertNotEmpty({ endpoints }: RemoteEtcd, { entries }: Dump): void {
  if (entries.length > 0) return;
  throw new DatastoreError(`nothing to copy: ${endpoints} has no keys`);
}

interface Plan {
  /** The current content of the target. */
  readonly present: Present;
  readonly copied: readonly DumpedEntry[];
  /** Keys that are newer in the target. */
  readonly keptCount: number;
  /** Keys that are equal in both stores. */
  readonly equalCount: number;
}

/**
 * Plans a round. `before`: what this run has already copied. Throws `DatastoreError` if it is
 * unknown for some keys which version is newer, unless they may be overwritten.
 */
async function planCopy(
  { from, to, overwrite }: { from: RemoteEtcd; to: RemoteEtcd; overwrite: boolean },
  { entries }: Dump,
  before?: Dump,
): Promise<Plan> {
  const { present, different } = await compareWith(to, entries);
  const own = new Map(before?.entries.map((entry) => [keyText(entry.key), entry]));
  const compared = await mapConcurrently(different, async (entry) => {
    const other = present.get(keyText(entry.key));
    const isOwn = other === undefined || isSame(own.get(keyText(entry.key)), other);
    return { entry, newer: isOwn ? "from" : await newerOf({ from, to }, entry, other) };
  });
  const having = (newer: string) =>
    compared.filter((one) => one.newer === newer).map(({ entry }) => entry);
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

/**
 * Which store has the newer version of a key; unknown if both have changed since they were equal.
 */
async function newerOf(
  { from, to }: { from: RemoteEtcd; to: RemoteEtcd },
  entry: DumpedEntry,
  other: DumpedEntry,
): Promise<"from" | "to" | "unknown"> {
  const [fromIsNewer, toIsNewer] = await Promise.all([
    heldEarlier(from, other),
    heldEarlier(to, entry),
  ]);
  if (fromIsNewer === toIsNewer) return "unknown";
  return fromIsNewer ? "from" : "to";
}

function rest({ equalCount, keptCount }: Plan): string {
  return (equalCount > 0 ? `; ${equalCount} were already present` : "") +
    (keptCount > 0 ? `; kept ${keptCount} that are newer there` : "");
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
    `renewed ${renewed.length} leases that had less time left there, the shortest to ${shortest} s`,
  );
}

/**
 * The entries without those whose lease was renewed in the target: their node has moved, and its
 * lease expired in the source.
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

/** Entries of the earlier dump whose keys the later one does not have. */
function missingFrom(later: Dump, earlier: Dump): DumpedEntry[] {
  const keys = new Set(later.entries.map(({ key }) => keyText(key)));
  return earlier.entries.filter(({ key }) => !keys.has(keyText(key)));
}
