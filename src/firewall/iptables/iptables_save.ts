/** Parses the output of iptables-save and `iptables -S`. */

/** Table, then chain, then its rules as iptables-save prints them after `-A CHAIN `. */
export type IptablesState = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

export interface SavedTables {
  /** The tables that were printed completely. */
  readonly tables: IptablesState;
  /** By table and built-in chain, as in `filter FORWARD`: the chain's policy. */
  readonly policies: ReadonlyMap<string, string>;
  /** Why a table was omitted or printed partially. */
  readonly unreadable: ReadonlyMap<string, string>;
}

/**
 * Parses the output of iptables-save. A table that is truncated, contains a line that is not a
 * rule, or is announced as incompatible counts as unreadable: otherwise our rules would be added
 * again. Throws `SyntaxError` for text that is not output of iptables-save at all.
 */
export function parseIptablesSave(text: string): SavedTables {
  const tables = new Map<string, Map<string, string[]>>();
  const policies = new Map<string, string>();
  const unreadable = new Map<string, string>();
  let current: { readonly name: string; readonly chains: Map<string, string[]> } | undefined;
  const end = (reason: string) => {
    if (current !== undefined) unreadable.set(current.name, reason);
    current = undefined;
  };
  for (const line of text.split("\n")) {
    if (line === "") continue;
    if (line.startsWith("#")) {
      const incompatible = INCOMPATIBLE.exec(line)?.[1];
      if (incompatible !== undefined) {
        unreadable.set(incompatible, "it contains a rule that only nft can show");
      }
    } else if (line.startsWith("*")) {
      end(TRUNCATED);
      current = { name: line.slice(1).trim(), chains: new Map() };
    } else if (line === "COMMIT") {
      if (current !== undefined) tables.set(current.name, current.chains);
      current = undefined;
    } else if (current === undefined) {
      // The rest of a table after a line that could not be parsed.
      if (unreadable.size === 0) throw unexpectedLine(line);
    } else if (readLine(line, current.chains)) {
      const [, chain, policy] = POLICY.exec(line) ?? [];
      if (policy !== undefined) policies.set(`${current.name} ${chain}`, policy);
    } else end(unexpectedLine(line).message);
  }
  end(TRUNCATED);
  for (const name of unreadable.keys()) tables.delete(name);
  return { tables, policies, unreadable };
}

/** Does not match "contains incompatible base-chains": then all chains of iptables are shown. */
const INCOMPATIBLE = /^# Table [`'"]?([^`'"\s]+)[`'"]? is incompatible\b/;
const POLICY = /^:(\S+) ([A-Z]+)( |$)/;
const TRUNCATED = "iptables-save stopped before its end";

/** The rules in the output of `iptables -S CHAIN`. */
export function parseChainListing(text: string, chain: string): string[] {
  const start = `-A ${chain} `;
  return text.split("\n").flatMap((line) =>
    line.startsWith(start) ? [line.slice(start.length)] : []
  );
}

/** Returns false for a line that is neither a chain nor a rule in one. */
function readLine(line: string, chains: Map<string, string[]>): boolean {
  const [head, name] = line.split(" ", 2) as [string, string | undefined];
  if (head.startsWith(":")) {
    chains.set(head.slice(1), []);
    return true;
  }
  const rules = head === "-A" && name !== undefined ? chains.get(name) : undefined;
  rules?.push(line.slice(head.length + (name as string).length + 2));
  return rules !== undefined;
}

function unexpectedLine(line: string): SyntaxError {
  return new SyntaxError(
    `iptables-save printed an unexpected line: ${JSON.stringify(line.slice(0, 200))}`,
  );
}
