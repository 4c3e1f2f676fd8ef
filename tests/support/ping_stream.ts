/** A running ping that counts every packet: what a flow through the overlay sees of a restart. */

import { readFileSync } from "node:fs";
import { type DetachedProcess, startDetached } from "../../src/process/detached_process.ts";
import { eventually } from "./wait.ts";

export interface PingResult {
  readonly sent: number;
  /** Sequence numbers of the packets that got no answer. */
  readonly lost: readonly number[];
}

const INTERVAL_SECONDS = 0.01;
/** An answer that takes longer counts as none. */
const ANSWER_MS = 3_000;
const REPORT_MS = 30_000;
/** What a ping at the default interval sends at least: half a second, however short the event. */
const MIN_SENT = 51;

export class PingStream {
  readonly #process: DetachedProcess;
  readonly #logFile: string;
  readonly #minSent: number;

  /** Starts to ping `address` from a namespace, a hundred times a second by default. */
  constructor(
    namespace: string,
    ping: { address: string; payloadBytes?: number; intervalSeconds?: number; logFile: string },
  ) {
    this.#logFile = ping.logFile;
    this.#minSent = ping.intervalSeconds === undefined ? MIN_SENT : 1;
    this.#process = startDetached("ip", [
      ...["netns", "exec", namespace, "ping", "-n", "-M", "do"],
      ...[
        "-s",
        String(ping.payloadBytes ?? 1000),
        "-i",
        String(ping.intervalSeconds ?? INTERVAL_SECONDS),
        ping.address,
      ],
    ], { logFile: ping.logFile, env: { PATH: process.env["PATH"] ?? "" } });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Answers so far. */
  get received(): number {
    return this.#answers().size;
  }

  /** Packets sent so far: `ping` reports it when it gets SIGQUIT (ping(8)). */
  async sent(): Promise<number> {
    await eventually("the ping has begun", REPORT_MS, () => catchesQuit(this.pid));
    const before = this.#reports().length;
    this.#process.signal("SIGQUIT");
    await eventually("the ping reports", REPORT_MS, () => this.#reports().length > before);
    return this.#reports().at(-1) as number;
  }

  /** Ends the ping. Only what was sent before counts, and its answers may still be under way. */
  async stop(): Promise<PingResult> {
    const sent = await eventually("the ping has sent enough", REPORT_MS, async () => {
      const count = await this.sent();
      return count >= this.#minSent ? count : undefined;
    });
    const deadline = performance.now() + ANSWER_MS;
    while (this.#lost(sent).length > 0 && performance.now() < deadline) await Bun.sleep(15);
    const lost = this.#lost(sent);
    this.#process.signal("SIGINT");
    await this.#process.exited;
    return { sent, lost };
  }

  #lost(sent: number): number[] {
    const answers = this.#answers();
    return Array.from({ length: sent }, (_, index) => index + 1)
      .filter((sequence) => !answers.has(sequence % 65536));
  }

  #answers(): Set<number> {
    const found = this.#log().matchAll(/bytes from .*icmp_seq=(\d+) .*time=/g);
    return new Set([...found].map(([, sequence]) => Number(sequence)));
  }

  /** What was sent by each report, such as `19/21 packets, 9% loss`. */
  #reports(): number[] {
    return [...this.#log().matchAll(/\d+\/(\d+) packets, \d/g)].map(([, sent]) => Number(sent));
  }

  #log(): string {
    return readFileSync(this.#logFile, "utf8");
  }
}

/** Whether a process has a handler for SIGQUIT, which would end it otherwise (proc(5), SigCgt). */
function catchesQuit(pid: number): boolean {
  const SIGQUIT = 3;
  const [, caught = ""] = /^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ??
    [];
  return (BigInt(`0x${caught}`) >> BigInt(SIGQUIT - 1) & 1n) === 1n;
}
