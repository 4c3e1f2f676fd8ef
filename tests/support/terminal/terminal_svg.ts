/**
 * A recorded session in a terminal as an SVG image, for the manual. Its lines appear one after the
 * other as they did then (CSS animation), once; a viewer without animation shows all of them. It
 * has the colours of a light or a dark page, no script and no font, and its text can be selected.
 *
 * svg-term and termtosvg make a film of whole screens in fixed colours: ten times the size, and
 * neither is maintained.
 */

export interface TerminalCommand {
  /** Such as `root@node1:~# `. */
  readonly prompt: string;
  /** As it was typed; may have several lines. */
  readonly command: string;
  readonly output: readonly TerminalLine[];
}

export interface TerminalLine {
  readonly text: string;
  /** Since the command was entered. */
  readonly atMs: number;
}

export interface TerminalImageOptions {
  /** What the image shows, for readers who do not see it. */
  readonly title: string;
  readonly columns: number;
}

/** A row of the screen: what is on it, and when it appears after the beginning. */
interface Row {
  readonly spans: readonly Span[];
  readonly atMs: number;
}

interface Span {
  /** `p`: prompt, `c`: command, `o`: output, `e`: what is left out. */
  readonly kind: "p" | "c" | "o" | "e";
  readonly text: string;
}

/** How long a reader looks at a command before its output. */
const READ_COMMAND_MS = 1_500;
/** A longer pause is shortened to this. */
const LONGEST_PAUSE_MS = 1_000;
/** Longer output is shortened: its first line, how many are left out, its last two. */
const LONGEST_OUTPUT = 5;
const CONTINUATION = "> ";

const LAYOUT = { rowHeight: 17, charWidth: 7.83, fontSize: 13, margin: 18, titleHeight: 30 };

/** The image; the same session always gives the same text. */
export function terminalSvg(
  session: readonly TerminalCommand[],
  { title, columns }: TerminalImageOptions,
): string {
  const rows = rowsOf(session).flatMap((row) => wrapped(row, columns));
  const { rowHeight, charWidth, margin, titleHeight } = LAYOUT;
  const width = Math.ceil(columns * charWidth + 2 * margin);
  const height = titleHeight + rows.length * rowHeight + margin;
  const dots = [0, 1, 2].map((index) => `<circle cx="${margin + 6 + 18 * index}" cy="18" r="5"/>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" ` +
    `height="${height}" role="img" aria-labelledby="title" xml:space="preserve">`,
    `<title id="title">${escapeXml(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="window" x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="8"/>`,
    `<g class="dots">${dots.join("")}</g>`,
    ...rows.map((row, index) => textElement(row, titleHeight + (index + 1) * rowHeight)),
    "</svg>\n",
  ].join("\n");
}

/** The commands in an image, without the prompts, as they were typed. */
export function commandsIn(svg: string): string[] {
  const commands: string[] = [];
  for (const [, text = ""] of svg.matchAll(/<text[^>]*>(.*)<\/text>/g)) {
    const [, prompt, command] =
      /^(?:<tspan class="p">(.*?)<\/tspan>)?<tspan class="c">(.*)<\/tspan>$/
        .exec(text) ?? [];
    if (command === undefined) continue;
    const line = unescapeXml(command);
    if (prompt === undefined) commands[commands.length - 1] += line;
    else if (unescapeXml(prompt) === CONTINUATION) commands[commands.length - 1] += `\n${line}`;
    else commands.push(line);
  }
  return commands;
}

function rowsOf(session: readonly TerminalCommand[]): Row[] {
  const rows: Row[] = [];
  let nowMs = 0;
  for (const { prompt, command, output } of session) {
    command.split("\n").forEach((text, index) => {
      const before = index === 0 ? prompt : CONTINUATION;
      rows.push({ spans: [{ kind: "p", text: before }, { kind: "c", text }], atMs: nowMs });
    });
    nowMs += READ_COMMAND_MS;
    let previousMs = 0;
    for (const { atMs, ...span } of shortened(output)) {
      nowMs += Math.min(Math.max(atMs - previousMs, 0), LONGEST_PAUSE_MS);
      previousMs = atMs;
      rows.push({ spans: [span], atMs: nowMs });
    }
    nowMs += LONGEST_PAUSE_MS;
  }
  return rows;
}

function shortened(output: readonly TerminalLine[]): (Span & { readonly atMs: number })[] {
  const shown = output.map((line) => ({ kind: "o" as const, ...line }));
  const [first, ...others] = shown;
  if (first === undefined || shown.length <= LONGEST_OUTPUT) return shown;
  const last = others.splice(-2);
  const omitted = { kind: "e" as const, text: `… ${others.length} more lines`, atMs: first.atMs };
  return [first, omitted, ...last];
}

/** A row that is longer than the screen continues on the next one. */
function wrapped({ spans, atMs }: Row, columns: number): Row[] {
  const rows: Span[][] = [[]];
  let column = 0;
  for (const { kind, text } of spans) {
    const characters = [...text];
    while (characters.length > 0) {
      if (column === columns) {
        rows.push([]);
        column = 0;
      }
      const part = characters.splice(0, columns - column);
      rows.at(-1)?.push({ kind, text: part.join("") });
      column += part.length;
    }
  }
  return rows.map((row) => ({ spans: row, atMs }));
}

function textElement({ spans, atMs }: Row, y: number): string {
  const parts = spans.map(({ kind, text }) => `<tspan class="${kind}">${escapeXml(text)}</tspan>`);
  const delay = `${(atMs / 1_000).toFixed(1)}s`;
  return `<text x="${LAYOUT.margin}" y="${y}" style="animation-delay:${delay}">${
    parts.join("")
  }</text>`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function unescapeXml(text: string): string {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

const STYLE = `
.window{fill:#f6f8fa;stroke:#d0d7de}
.dots{fill:#d0d7de}
text{font:${LAYOUT.fontSize}px ui-monospace,SFMono-Regular,Menlo,Consolas,
"DejaVu Sans Mono",monospace;
fill:#1f2328;white-space:pre;animation:appear 1ms both}
.p{fill:#1a7f37}
.c{font-weight:600}
.e{fill:#59636e;font-style:italic}
@keyframes appear{from{visibility:hidden}}
@media (prefers-color-scheme:dark){
.window{fill:#161b22;stroke:#3d444d}
.dots{fill:#3d444d}
text{fill:#e6edf3}
.p{fill:#3fb950}
.e{fill:#9198a1}
}
@media (prefers-reduced-motion:reduce),print{text{animation:none}}
`;
