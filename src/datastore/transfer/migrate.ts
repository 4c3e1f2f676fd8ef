/**
 * Copies a running store to another one, and makes sure that the copy is complete.
 *
 * What changes while the copy is made is copied in a further round, until a round finds nothing.
 */

import { DatastoreError } from "../datastore_error.ts";
import { type Dump, readDump } from "./dump.ts";
import type { Remote } from "./remote.ts";
import { differences, listed, restoreDump } from "./restore.ts";

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
  for (let round = 1; round <= ROUNDS; round++) {
    dump = await readDump(from);
    const different = await differences(to, dump);
    if (different.length === 0) {
      report(
        `verified: all ${dump.entries.length} keys are equal, with ${dump.leases.length} leases`,
      );
      return;
    }
    // Only what this run has copied, or was allowed to replace, can differ now.
    await restoreDump(to, dump, { overwrite: true });
    report(`copied ${different.length} keys that changed meanwhile`);
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
