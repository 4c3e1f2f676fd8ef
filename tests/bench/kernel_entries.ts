/** How many of a node's entries the kernel of a host holds, and when they change. */

import { readFileSync } from "node:fs";
import { runProgram } from "../../src/process/run_program.ts";

/**
 * IPv4 prefixes of the main routing table, as /proc/net/fib_triestat counts them: a walk of the
 * trie without a line per route, so that looking often costs the daemon next to nothing.
 */
export function routePrefixes(observer: number): number {
  const text = readFileSync(`/proc/${observer}/net/fib_triestat`, "utf8");
  return Number(/^Main:[^]*?Prefixes:\s+(\d+)$/m.exec(text)?.[1] ?? 0);
}

export interface EntryCounts {
  readonly routes: number;
  readonly neighbours: number;
  readonly fdb: number;
}

/** Entries of `flannel.1`, by full dumps. */
export async function entryCounts(namespace: string): Promise<EntryCounts> {
  const device = ["dev", "flannel.1"];
  const [routes, neighbours, fdb] = await Promise.all([
    lines("ip", ["-4", "-n", namespace, "route", "show", ...device]),
    lines("ip", ["-4", "-n", namespace, "neighbour", "show", ...device, "nud", "permanent"]),
    lines("bridge", ["-n", namespace, "fdb", "show", ...device]),
  ]);
  return { routes, neighbours, fdb };
}

/** Neighbours and FDB entries of `flannel.1` whose MAC address starts with this text. */
export async function entriesWithMac(
  namespace: string,
  mac: string,
): Promise<Omit<EntryCounts, "routes">> {
  const device = ["dev", "flannel.1"];
  const [neighbours, fdb] = await Promise.all([
    lines("ip", ["-4", "-n", namespace, "neighbour", "show", ...device], ` lladdr ${mac}`),
    lines("bridge", ["-n", namespace, "fdb", "show", ...device], mac),
  ]);
  return { neighbours, fdb };
}

/** The number of lines, or of those with this text. */
async function lines(program: string, args: readonly string[], text = ""): Promise<number> {
  const { exitCode, stdout } = await runProgram(program, args);
  // The device is not there yet.
  if (exitCode !== 0) return 0;
  return stdout.split("\n").filter((line) => line !== "" && line.includes(text)).length;
}

/**
 * Notifications of neighbours and FDB entries in a namespace, with the time at which ip(8) read
 * them from its socket; it shows an FDB entry as a neighbour with the remote's address.
 */
export class NeighbourMonitor implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #seen = new Map<string, number>();
  readonly #reader: Promise<void>;

  constructor(namespace: string) {
    this.#child = Bun.spawn(["ip", "-n", namespace, "-ts", "monitor", "neigh"], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
      env: { PATH: process.env["PATH"] ?? "", TZ: "UTC" },
    });
    this.#reader = this.#read(this.#child.stdout);
  }

  /**
   * When the last of `addresses` got this MAC address, in milliseconds since the epoch; throws
   * after `timeoutMs`.
   */
  async allSeen(addresses: readonly string[], mac: string, timeoutMs: number): Promise<number> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const times = addresses.map((address) => this.#seen.get(`${address} ${mac}`));
      if (times.every((time) => time !== undefined)) return Math.max(...times);
      if (performance.now() > deadline) {
        throw new Error(`${addresses.join(" and ")} did not get ${mac} within ${timeoutMs} ms`);
      }
      await Bun.sleep(2);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#reader;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#note(line);
    }
  }

  #note(line: string): void {
    const match = /^\[(\S+)\.(\d{6})\] (\S+) .*lladdr (\S+)/.exec(line);
    if (!match || match[3] === "Deleted") return;
    const key = `${match[3]} ${match[4]}`;
    if (this.#seen.has(key)) return;
    this.#seen.set(key, Date.parse(`${match[1]}Z`) + Number(match[2]) / 1000);
  }
}
