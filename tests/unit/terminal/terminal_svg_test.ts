import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  QUICK_START_IMAGE,
  quickStartCommands,
  recordedCommands,
} from "../../support/machines/quick_start.ts";
import {
  commandsIn,
  type TerminalCommand,
  terminalSvg,
} from "../../support/terminal/terminal_svg.ts";

const OPTIONS = { title: "a <session>", columns: 20 };

function session(command: string, output: readonly string[] = []): TerminalCommand[] {
  return [{ prompt: "# ", command, output: output.map((text) => ({ text, atMs: 0 })) }];
}

/** What a viewer shows, row by row. */
function screen(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>(.*)<\/text>/g)]
    .map(([, row = ""]) => row.replaceAll(/<[^>]+>/g, ""));
}

describe("the image of a session", () => {
  test("has the command with its prompt, and then the output", () => {
    expect(screen(terminalSvg(session("ls | wc", ["a  b", "c"]), OPTIONS)))
      .toEqual(["# ls | wc", "a  b", "c"]);
  });

  test("continues on the next row what is longer than the screen", () => {
    const svg = terminalSvg(session("echo 1234567890123456", ["1234567890123456"]), OPTIONS);
    expect(screen(svg)).toEqual(["# echo 1234567890123", "456", "1234567890123456"]);
  });

  test("leaves out the middle of long output, and says so", () => {
    const svg = terminalSvg(session("seq 9", [..."123456789"]), OPTIONS);
    expect(screen(svg)).toEqual(["# seq 9", "1", "… 6 more lines", "8", "9"]);
    expect(screen(terminalSvg(session("seq 5", [..."12345"]), OPTIONS))).toHaveLength(6);
  });

  test("is XML, whatever is in it", () => {
    const svg = terminalSvg(session('cat <"a" && b', ["</text><script>"]), OPTIONS);
    expect(svg).toContain('<title id="title">a &lt;session&gt;</title>');
    expect(svg).not.toContain("<script");
    expect(commandsIn(svg)).toEqual(['cat <"a" && b']);
  });

  test("shows each row when it appeared, with no long pause", () => {
    const output = [{ text: "a", atMs: 200 }, { text: "b", atMs: 60_200 }];
    const svg = terminalSvg([{ prompt: "# ", command: "sleep", output }], OPTIONS);
    expect([...svg.matchAll(/animation-delay:(\S+?)"/g)].map(([, delay]) => delay))
      .toEqual(["0.0s", "1.7s", "2.7s"]);
  });

  test("gives back the commands as they were typed", () => {
    const commands = ["curl -fsS https://releases.example.com |\n  sh -s -- \\\n  --node", "true"];
    const typed = commands.flatMap((command) => session(command, ["> no command"]));
    expect(commandsIn(terminalSvg(typed, OPTIONS))).toEqual(commands);
  });
});

describe("docs/three_machines.svg", () => {
  const image = readFileSync(QUICK_START_IMAGE, "utf8");

  test("shows the commands of README.md; npm run docs:terminal records them", () => {
    const { first, each, check } = quickStartCommands("v1");
    expect(recordedCommands(image)).toEqual([...first, ...each, ...each, ...each, ...check]);
  });

  test("has no secret, and is small", () => {
    expect(image).not.toMatch(/F1\.\w+\.[\w-]{7}/);
    expect(image.length).toBeLessThan(60_000);
  });
});
