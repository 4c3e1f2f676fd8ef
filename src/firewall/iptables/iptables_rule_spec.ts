/** Parses a rule as iptables-save prints it. */

import type { AddressMatch } from "../rules/firewall_rules.ts";
import { parsePrefixMasked, type Prefix } from "../../addr/prefix.ts";
import { addressBits, familyOf } from "../../addr/ip.ts";

/** A rule, as far as it matters here. */
export interface RuleSpec {
  readonly raw: string;
  readonly source?: AddressMatch;
  readonly destination?: AddressMatch;
  readonly mark?: { readonly value: number; readonly mask: number };
  readonly comment?: string;
  /** The connection tracking states to which the rule is limited. */
  readonly states?: readonly string[];
  /** It has a condition that is not one of the above. */
  readonly isNarrower: boolean;
  /** Empty for a rule without a target, which only counts. */
  readonly target: string;
  /** `-g`: packets do not return from the target. */
  readonly isGoto: boolean;
  readonly targetOptions: readonly string[];
}

/** Parses what follows `-A CHAIN `. */
export function parseRuleSpec(raw: string): RuleSpec {
  const words = splitWords(raw);
  const spec: { -readonly [K in keyof RuleSpec]: RuleSpec[K] } = {
    raw,
    isNarrower: false,
    target: "",
    isGoto: false,
    targetOptions: [],
  };
  for (let i = 0; i < words.length; i++) {
    const negated = words[i] === "!";
    if (negated) i++;
    const option = words[i] as string;
    if (option === "-j" || option === "-g") {
      spec.target = words[i + 1] ?? "";
      spec.isGoto = option === "-g";
      spec.targetOptions = words.slice(i + 2);
      break;
    }
    // How many values an unknown option has is unknown, too: each of its words counts as an option.
    if (readCondition(spec, { option, value: words[i + 1] ?? "", negated })) i++;
    else spec.isNarrower = true;
  }
  return spec;
}

/** Whether the rule jumps to the chain with each packet. */
export function isPlainJump(spec: RuleSpec, chain: string): boolean {
  return spec.target === chain && !spec.isGoto && !spec.isNarrower && !spec.source &&
    !spec.destination && !spec.mark && !spec.states;
}

/** Returns false for a condition that a `RuleSpec` does not represent. */
function readCondition(
  spec: { -readonly [K in keyof RuleSpec]: RuleSpec[K] },
  { option, value, negated }: { option: string; value: string; negated: boolean },
): boolean {
  switch (option) {
    case "-s":
    case "-d": {
      const prefix = parseSavedPrefix(value);
      if (prefix === undefined) return false;
      spec[option === "-s" ? "source" : "destination"] = { prefix, negated };
      return true;
    }
    case "-m":
      return ["comment", "mark", "conntrack", "state"].includes(value);
    case "--comment":
      spec.comment = value;
      return true;
    case "--mark": {
      const [mark, mask] = value.split("/").map(Number);
      spec.mark = { value: mark as number, mask: mask ?? 0xffffffff };
      return !negated;
    }
    case "--ctstate":
    case "--state":
      spec.states = value.split(",");
      return !negated;
    default:
      return false;
  }
}

/** Some versions of iptables-save omit `/32`. A mask with holes is not a prefix. */
function parseSavedPrefix(text: string): Prefix | undefined {
  return parsePrefixMasked(text.includes("/") ? text : `${text}/${addressBits(familyOf(text))}`);
}

/**
 * Splits at spaces. A word in double quotes may contain spaces, and `\` before a quote or a `\`.
 */
function splitWords(text: string): string[] {
  const words = text.match(/"(?:\\.|[^"\\])*"|\S+/g) ?? [];
  return words.map((word) =>
    word.startsWith('"') ? word.slice(1, -1).replaceAll(/\\(.)/g, "$1") : word
  );
}
