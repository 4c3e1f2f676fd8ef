/** Colours of a terminal, and lines that fit it. */

export interface Paint {
  good(text: string): string;
  bad(text: string): string;
}

export const PLAIN: Paint = { good: (text) => text, bad: (text) => text };

/** ECMA-48, select graphic rendition. */
export const COLOURED: Paint = {
  good: (text) => `\u001b[32m${text}\u001b[0m`,
  bad: (text) => `\u001b[31m${text}\u001b[0m`,
};

const MIN_WIDTH = 20;

/** The text in lines of at most `width` characters, broken at spaces where there are any. */
export function wrapped(text: string, width: number): string[] {
  const limit = Math.max(width, MIN_WIDTH);
  const lines: string[] = [];
  let rest = text;
  while (rest.length > limit) {
    const space = rest.lastIndexOf(" ", limit);
    const end = space > 0 ? space : limit;
    lines.push(rest.slice(0, end));
    rest = rest.slice(space > 0 ? end + 1 : end);
  }
  return [...lines, rest];
}
