/**
 * The regular expressions of `--iface-regex`, which were written for Go's RE2.
 *
 * What RE2 has and JavaScript spells differently is translated: a leading `(?i)` and its like,
 * `\A`, `\z`, `(?P<name>`, `\Q…\E` and POSIX classes such as `[[:alpha:]]`. Everything else that
 * people write for addresses and names is the same in both. JavaScript also accepts look-around and
 * back references, which RE2 refuses; they work here.
 */

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
    return { problem: (error as Error).message };
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
