/**
 * The regular expressions of `--iface-regex`, which are written for Go's RE2.
 *
 * Syntax that JavaScript spells differently is translated: leading flags such as `(?i)`, `\A`,
 * `\z`, `(?P<name>`, `\Q…\E` and POSIX classes such as `[[:alpha:]]`. The rest of what is used for
 * addresses and names is the same in both. Look-around and back references, which RE2 rejects,
 * work here.
 */

import { errorMessage } from "../base/operator_error.ts";

export type InterfacePattern =
  | { readonly test: (text: string) => boolean }
  | { readonly problem: string };

/** Compiles an expression; matches anywhere in the text, as Go's `MatchString`. */
export function compileInterfacePattern(source: string): InterfacePattern {
  const flags = /^\(\?([ims]+)\)/.exec(source);
  const body = flags === null ? source : source.slice(flags[0].length);
  try {
    const expression = new RegExp(translate(body), flags?.[1] ?? "");
    return { test: (text) => expression.test(text) };
  } catch (error) {
    return { problem: errorMessage(error) };
  }
}

const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  digit: "0-9",
  lower: "a-z",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\s",
  upper: "A-Z",
  word: "\\w",
  xdigit: "0-9A-Fa-f",
};

function translate(source: string): string {
  return source
    .replace(
      /\\Q([\s\S]*?)(?:\\E|$)/g,
      (_, literal: string) => literal.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"),
    )
    .replace(/\[:(\w+):\]/g, (whole, name: string) => POSIX_CLASSES[name] ?? whole)
    .replaceAll("(?P<", "(?<")
    .replaceAll("\\A", "^")
    .replaceAll("\\z", "$");
}
