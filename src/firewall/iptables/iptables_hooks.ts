/** Where our chains are in iptables. The names are fixed: Go flannel uses the same. */

/** One of our chains and the built-in chain that jumps to it. */
export interface IptablesHook {
  readonly table: string;
  readonly parent: string;
  readonly chain: string;
  readonly comment: string;
  readonly ruleSet: "masquerade" | "forward";
}

const MASQUERADE_HOOK: IptablesHook = {
  table: "nat",
  parent: "POSTROUTING",
  chain: "FLANNEL-POSTRTG",
  comment: "flanneld masq",
  ruleSet: "masquerade",
};

export const FORWARD_HOOK: IptablesHook = {
  table: "filter",
  parent: "FORWARD",
  chain: "FLANNEL-FWD",
  comment: "flanneld forward",
  ruleSet: "forward",
};

export const IPTABLES_HOOKS: readonly IptablesHook[] = [MASQUERADE_HOOK, FORWARD_HOOK];

/** The tables and chains whose changes may concern our rules: `table chain`. */
export const IPTABLES_CHAINS: ReadonlySet<string> = new Set(
  IPTABLES_HOOKS.flatMap(({ table, parent, chain }) => [`${table} ${parent}`, `${table} ${chain}`]),
);

/** Our jump to the hook's chain, as iptables-save prints it. */
export function jumpSpec(hook: IptablesHook): string {
  return `-m comment --comment "${hook.comment}" -j ${hook.chain}`;
}
