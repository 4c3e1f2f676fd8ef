/** A terminal on which a text is redrawn in place. */

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

// ECMA-48, and the alternate screen of xterm, which leaves the scroll-back as it was.
const ENTER = "\u001b[?1049h\u001b[?25l";
export const LEAVE_SCREEN = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const CLEAR_LINE_END = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";

/**
 * The characters that draw a text over the previous one. Each line replaces a line, and nothing is
 * cleared before it is written, so the terminal does not flicker. Lines that do not fit are cut
 * off, with a note.
 */
export function screenFrame(text: string, { rows }: TerminalSize, which: "first" | "next"): string {
  const lines = text.replace(/\n$/, "").split("\n");
  const shown = lines.length <= rows
    ? lines
    : [...lines.slice(0, rows - 1), `… and ${lines.length - rows + 1} more lines`];
  const drawn = shown.map((line) => `${line}${CLEAR_LINE_END}`).join("\r\n");
  return `${which === "first" ? ENTER : ""}${HOME}${drawn}${CLEAR_BELOW}`;
}
