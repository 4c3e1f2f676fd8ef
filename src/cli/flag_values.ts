/** Parses the text of a flag or environment variable, with Go's spellings. */

import { type Family, familyOf, type IpAddress, parseIpAddress } from "../addr/ip.ts";

/** The value, or what the text has to be, as the end of the sentence "it must be …". */
export type FlagReading<T> =
  | { readonly value: T }
  | {
    readonly allowed: string;
    /** The text has the right form, but lies outside the range. */
    readonly outOfRange?: true;
  };

/** The twelve forms of Go's `strconv.ParseBool`. */
export function readBoolean(text: string): FlagReading<boolean> {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return { value: true };
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return { value: false };
  return { allowed: "true or false" };
}

/** An integer of Go's `strconv.ParseInt` with base 0, between `min` and `max`. */
export function readInteger(
  text: string,
  { min, max, unit }: { min: number; max: number; unit?: string },
): FlagReading<number> {
  const allowed = `a whole number${unit ? ` of ${unit}` : ""} from ${min} to ${max}`;
  const value = parseGoInteger(text);
  if (value === undefined) return { allowed };
  if (value < BigInt(min) || value > BigInt(max)) return { allowed, outOfRange: true };
  return { value: Number(value) };
}

/** An address of this family; `undefined` for the empty text. */
export function readAddress(text: string, family: Family): FlagReading<IpAddress | undefined> {
  if (text === "") return { value: undefined };
  const address = parseIpAddress(text);
  if (address !== undefined && familyOf(address) === family) return { value: address };
  // As `ip address` prints it.
  const [bare = ""] = text.split("/");
  const isPrefix = bare !== text && parseIpAddress(bare) !== undefined;
  const hint = isPrefix ? `; leave out "${text.slice(bare.length)}"` : "";
  return { allowed: `an IPv${family} address${hint}` };
}

/** An IPv4 or IPv6 address; `undefined` for the empty text. */
export function readAnyAddress(text: string): FlagReading<IpAddress | undefined> {
  const reading = readAddress(text, text.includes(":") ? 6 : 4);
  if ("value" in reading) return reading;
  return { allowed: reading.allowed.replace(/^an IPv[46]/, "an IPv4 or IPv6") };
}

/**
 * `strconv.ParseInt(text, 0, 64)`: an optional sign, then decimal, or 0x, 0o, 0b or a leading 0 for
 * octal; underscores between digits as in Go literals.
 */
function parseGoInteger(text: string): bigint | undefined {
  const match = /^([+-]?)(0[xX]|0[oO]|0[bB]|0(?=[0-9_]))?(.+)$/.exec(text);
  if (match === null) return undefined;
  const [sign, prefix, digits] = [match[1], (match[2] ?? "").toLowerCase(), match[3] as string];
  // A prefix may be followed by an underscore, and digits may be separated by one.
  if (!(prefix === "" ? /^[0-9a-f]+(_[0-9a-f]+)*$/i : /^(_?[0-9a-f]+)+$/i).test(digits)) {
    return undefined;
  }
  const base = prefix === "0" ? "0o" : prefix;
  const plain = digits.replaceAll("_", "");
  if (!DIGITS[base as keyof typeof DIGITS].test(plain)) return undefined;
  const magnitude = BigInt(base + plain);
  const value = sign === "-" ? -magnitude : magnitude;
  return value === BigInt.asIntN(64, value) ? value : undefined;
}

const DIGITS = {
  "0x": /^[0-9a-f]+$/i,
  "0o": /^[0-7]+$/,
  "0b": /^[01]+$/,
  "": /^[0-9]+$/,
};

/** Splits at commas; empty items are ignored. */
export function splitList(text: string): string[] {
  return text.split(",").map((item) => item.trim()).filter((item) => item !== "");
}

/** Splits at commas outside of brackets: `eth[0-9]{1,2},ens` is two patterns. */
export function splitPatterns(text: string): string[] {
  const items: string[] = [""];
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string;
    if (character === "\\") {
      items.push(items.pop() + character + (text[++i] ?? ""));
      continue;
    }
    if ("([{".includes(character)) depth++;
    if (")]}".includes(character)) depth--;
    if (character === "," && depth <= 0) items.push("");
    else items.push(items.pop() + character);
  }
  return items.map((item) => item.trim()).filter((item) => item !== "");
}
