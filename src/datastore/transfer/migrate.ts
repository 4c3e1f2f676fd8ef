/**
 * Copies a running store to another one, and makes sure that the copy is complete.
 *
 * What changes while the copy is made is copied in a further round, until a round finds nothing.
 */

import { DatastoreError } from "../datastore_error.ts";
import { keyText } from "../key_range.ts";
import { type Dump, type DumpedEntry, readDump } from "./dump.ts";
import type { Remote } from "./remote.ts";
import { differences, listed, removeEntries, renewLeases, restoreDump } from "./restore.ts";

/** Renewals change leases, not keys, so that a network at rest needs two. */
const ROUNDS = 5;

/** Reports one line for each step. Throws `DatastoreError`. */
export async function migrate(
  from: Remote,
  to: Remote,
  { overwrite, report }: { overwrite: boolean; report: (line: string) => void },
): Promise<void> {
  let dump = await readDump(from);
  assertNotEmpty(from, dump);
  const { written, present } = await restoreDump(to, dump, { overwrite });
  report(
    `copied ${written} keys from ${from.endpoints} to ${to.endpoints}` +
      (present > 0 ? `; ${present} were there already` : ""),
  );
  const renewed = await renewLeases(to, dump.leases);
  if (renewed.length > 0) {
    const shortest = renewed.reduce((least, seconds) => seconds < least ? seconds : least);
    report(
      `renewed ${renewed.length} leases that had run short there, the shortest for ${shortest} s`,
    );
  }
  for (let round = 1; round <= ROUNDS; round++) {
    const before = dump;
    dump = await readDump(from);
    const [different, deleted] = [await differences(to, dump), missingFrom(dump, before)];
    if (different.length === 0 && deleted.length === 0) {
      const { entries, leases } = dump;
      report(`verified: all ${entries.length} keys are equal, with ${leases.length} leases`);
      return;
    }
    // Only what this run has copied, or was allowed to replace, can differ now.
    await restoreDump(to, dump, { overwrite: true });
    await removeEntries(to, deleted);
    report(`copied ${different.length} changes and ${deleted.length} deletions made meanwhile`);
  }
  const different = await differences(to, await readDump(from));
  throw new DatastoreError(
    `the copy does not come to rest: ${listed(different)} differ; run this again`,
  );
}

function assertNotEmpty({ endpoints }: Remote, { entries }: Dump): void {
  if (entries.length > 0) return;
  throw new DatastoreError(`there is nothing to copy: ${endpoints} holds no keys`);
}

/** What the earlier dump has and the later one has not. */
function missingFrom(later: Dump, earlier: Dump): DumpedEntry[] {
  const keys = new Set(later.entries.map(({ key }) => keyText(key)));
  return earlier.entries.filter(({ key }) => !keys.has(keyText(key)));
}
