/** Colours of a terminal, and lines that fit it. */

import { wrapLines } from "../base/text_wrap.ts";

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

/** The text in lines that fit a terminal of this width, which may have words without spaces. */
export function wrapped(text: string, width: number): string[] {
  return wrapLines(text, Math.max(width, MIN_WIDTH), "break");
}
