/**
 * Breaks a text at spaces into lines of at most `width` characters. A longer word has a line of its
 * own, or is broken as well.
 */
export function wrapLines(
  text: string,
  width: number,
  longWords: "keep" | "break" = "keep",
): string[] {
  const lines: string[] = [];
  let line: string | undefined;
  for (const word of text.split(" ")) {
    if (line === undefined) line = word;
    else if (line.length + 1 + word.length <= width) line = `${line} ${word}`;
    else {
      lines.push(line);
      line = word;
    }
    while (longWords === "break" && line.length > width) {
      lines.push(line.slice(0, width));
      line = line.slice(width);
    }
  }
  return [...lines, line ?? ""];
}
