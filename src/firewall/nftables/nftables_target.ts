/** Rules in nftables, through libnftables or, where that is missing, `nft`; see `nftables_rules.ts`. */

import type { Family } from "../../addr/ip.ts";
import { findNftRunner, type NftRunner } from "./nft_runner.ts";
import {
  listTableCommand,
  listTablesCommand,
  nftablesCorrection,
  type NftTable,
  nftTableName,
  readNftTable,
  readNftTableNames,
} from "./nftables_rules.ts";
import {
  type EnsureRequest,
  FirewallError,
  type NftChange,
  type RuleTarget,
} from "../rules/rule_target.ts";

/** Throws `FirewallError` where there is neither libnftables nor `nft`, with their packages. */
export function openNftables(runner: NftRunner = findNftRunner()): RuleTarget {
  return {
    name: `nftables (${runner.name})`,
    isWatched: true,
    ensure: (request) => ensure(runner, request),
    concerns: concernsNftables,
    [Symbol.dispose]: () => {},
  };
}

/** Another program may change the table between our look and our transaction. */
const TRIES = 3;

async function ensure(runner: NftRunner, request: EnsureRequest): Promise<boolean> {
  let failure: unknown;
  for (let attempt = 0; attempt < TRIES; attempt++) {
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
    `cannot set up IPv${request.family} nftables rules: the table ` +
      `${nftTableName(request.family)} does not stay as it was written; another program seems ` +
      `to change it at the same time`,
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
