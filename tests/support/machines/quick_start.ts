/** The commands of README.md, "Three machines", typed on machines, with their output. */

import { readFileSync } from "node:fs";
import { commandsIn, type TerminalCommand, type TerminalLine } from "../terminal/terminal_svg.ts";
import { joinTarget } from "./flannel_machines.ts";
import type { Machine } from "./machine.ts";
import type { Machines } from "./machines.ts";
import { TEST_ADDRESSES } from "./machine_network.ts";
import { RELEASE_HOST } from "./release_host.ts";

const README = new URL("../../../README.md", import.meta.url).pathname;
/** Of the image that README.md shows. */
export const QUICK_START_IMAGE =
  new URL("../../../docs/three_machines.svg", import.meta.url).pathname;
export const QUICK_START_TITLE =
  "install.sh starts the datastore on node1 and the daemon on three machines, which then reach " +
  "each other";
/** What stands for a value in README.md. */
const PLACEHOLDERS = { host: "MIRROR", version: "VERSION", target: "TOKEN@192.168.56.11" };
const ADDRESS = "10.5.72.0";

export interface QuickStartCommands {
  /** On the first machine. */
  readonly first: readonly string[];
  /** On each machine. */
  readonly each: readonly string[];
  /** On one of them, at the end. */
  readonly check: readonly string[];
}

/** Those of README.md, with the host and the version of the test. */
export function quickStartCommands(version: string): QuickStartCommands {
  const [, section = ""] = readFileSync(README, "utf8").split("\n## Three machines\n");
  const [first, each, check] = [...section.matchAll(/^```\n([^]*?)\n```$/gm)]
    .map(([, block = ""]) =>
      block.replaceAll(PLACEHOLDERS.host, RELEASE_HOST).replaceAll(PLACEHOLDERS.version, version)
    ).map(commandsOfBlock);
  if (!first || !each || !check) throw new Error("README.md has no commands for three machines");
  return { first, each, check };
}

/** The commands of such a recording, with what stands for a value in README.md. */
export function recordedCommands(svg: string): string[] {
  return commandsIn(svg).map((command) =>
    command.replace(/\bF1\.\S+(?=@)/, "TOKEN").replace(/^(ping .*)\b10\.5\.\d+\.0$/, `$1${ADDRESS}`)
  );
}

/**
 * Types them on the machines, which trust the release host's certificate in `caFile`. Each secret
 * is shortened in what is recorded.
 */
export async function recordQuickStart(
  machines: Machines,
  { version, caFile }: { readonly version: string; readonly caFile: string },
): Promise<TerminalCommand[]> {
  const { first, each, check } = quickStartCommands(version);
  const session: TerminalCommand[] = [];
  const type = async (machine: Machine, command: string) => {
    const output = await runTimed(machine, `export CURL_CA_BUNDLE=${caFile}\n${command}`);
    const prompt = `root@${machine.name}:~# `;
    session.push({ prompt, command: withoutSecret(command), output });
    return output.map(({ text }) => text).join("\n");
  };
  const hosts = `${TEST_ADDRESSES[4]} ${RELEASE_HOST}`;
  await Promise.all(machines.all.map((one) => one.run(`echo '${hosts}' >>/etc/hosts`)));
  for (const command of first) await type(machines.at(1), command);
  const target = await joinTarget(machines.at(1));
  for (const machine of machines.all) {
    for (const command of each) {
      await type(machine, command.replace(PLACEHOLDERS.target, target));
    }
  }
  let peer = ADDRESS;
  for (const command of check) {
    const output = await type(machines.all.at(-1) as Machine, command.replace(ADDRESS, peer));
    peer = / via (\S+) /.exec(output)?.[1] ?? peer;
  }
  return session;
}

/** Lines that end in `\` or `|` continue on the next one. */
function commandsOfBlock(block: string): string[] {
  return block.split(/(?<![\\|])\n/);
}

async function runTimed(machine: Machine, script: string): Promise<TerminalLine[]> {
  const output = await machine.run(
    `date +%s%3N; { ${script} || echo "exit status $?"\n} 2>&1 | ` +
      `while IFS= read -r line; do echo "$(date +%s%3N) $line"; done`,
  );
  const [begin, ...lines] = output.trimEnd().split("\n");
  return lines.map((line) => ({
    atMs: Number(line.slice(0, 13)) - Number(begin),
    text: withoutSecret(line.slice(14)),
  }));
}

/** Most of a token is its secret, and its fingerprint. */
function withoutSecret(text: string): string {
  return text.replace(/\b(F1\.\w+\.[\w-]{6})[\w-]+/g, "$1…");
}
