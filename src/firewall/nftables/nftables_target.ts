/** Rules in nftables, by libnftables or, without it, `nft`; see `nftables_rules.ts`. */

import type { Family } from "../../addr/ip.ts";
import { findNftRunner, type NftRunner } from "./nft_runner.ts";
import { type NftTable, readNftTable, readNftTableNames } from "./nft_listing.ts";
import {
  listTableCommand,
  listTablesCommand,
  nftablesCorrection,
  nftTableName,
} from "./nftables_rules.ts";
import {
  type EnsureRequest,
  FirewallError,
  type NftChange,
  type RuleTarget,
} from "../rules/rule_target.ts";

/** Throws `FirewallError` that names the packages if neither libnftables nor `nft` is installed. */
export function openNftables(runner: NftRunner = findNftRunner()): RuleTarget {
  return {
    name: `nftables (${runner.name})`,
    kind: "nftables",
    announcesChanges: true,
    ensure: (request) => ensure(runner, request),
    concerns: concernsNftables,
    [Symbol.dispose]: () => {},
  };
}

/** Another program may modify the table between our read and our transaction. */
const MAX_ATTEMPTS = 3;

async function ensure(runner: NftRunner, request: EnsureRequest): Promise<boolean> {
  let failure: unknown;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    request.signal?.throwIfAborted();
    const commands = await correction(runner, request);
    if (commands === undefined) return attempt > 0;
    try {
      await runner.apply(commands);
      failure = undefined;
    } catch (error) {
      failure = error;
    }
  }
  if (failure !== undefined) throw failure;
  if (await correction(runner, request) === undefined) return true;
  throw new FirewallError(
    `cannot set up IPv${request.family} nftables rules: another program keeps modifying the ` +
      `table ${nftTableName(request.family)}; exclude this table from it`,
  );
}

async function correction(
  runner: NftRunner,
  { family, rules, networks, onRead }: EnsureRequest,
): Promise<string | undefined> {
  onRead?.();
  try {
    return nftablesCorrection({ family, table: await readTable(runner, family), rules, networks });
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new FirewallError(`cannot read nftables rules: ${cause.message}`, { cause });
  }
}

async function readTable(runner: NftRunner, family: Family): Promise<NftTable | undefined> {
  const names = readNftTableNames(await runner.list(listTablesCommand(family)));
  if (!names.includes(nftTableName(family))) return undefined;
  return readNftTable(await runner.list(listTableCommand(family)));
}

function concernsNftables({ family, table }: NftChange): boolean {
  return family !== undefined && table === nftTableName(family);
}
