/** A running ping that counts every packet: what a flow through the overlay sees of a restart. */

import { readFileSync } from "node:fs";
import { type DaemonProcess, spawnDaemon } from "../../src/process/spawn_daemon.ts";

export interface PingResult {
  readonly sent: number;
  /** Sequence numbers of the packets that got no answer. */
  readonly lost: readonly number[];
}

const INTERVAL_SECONDS = 0.01;

export class PingStream {
  readonly #process: DaemonProcess;
  readonly #logFile: string;

  /** Starts to ping `address` from a namespace, a hundred times a second. */
  constructor(
    namespace: string,
    ping: { address: string; payloadBytes?: number; logFile: string },
  ) {
    this.#logFile = ping.logFile;
    this.#process = spawnDaemon("ip", [
      ...["netns", "exec", namespace, "ping", "-n", "-M", "do"],
      ...["-s", String(ping.payloadBytes ?? 1000), "-i", String(INTERVAL_SECONDS), ping.address],
    ], { logFile: ping.logFile, env: { PATH: process.env["PATH"] ?? "" } });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Answers so far. */
  get received(): number {
    return this.#answers().size;
  }

  /** Ends the ping. The last packet is left out: its answer may have been under way. */
  async stop(): Promise<PingResult> {
    this.#process.signal("SIGINT");
    await this.#process.exited;
    const text = readFileSync(this.#logFile, "utf8");
    const sent = Number(/^(\d+) packets transmitted/m.exec(text)?.[1] ?? 0) - 1;
    if (sent < 1) throw new Error(`the ping sent nothing: ${text.slice(0, 500)}`);
    const answers = this.#answers();
    const lost: number[] = [];
    for (let sequence = 1; sequence <= sent; sequence++) {
      if (!answers.has(sequence % 65536)) lost.push(sequence);
    }
    return { sent, lost };
  }

  #answers(): Set<number> {
    const text = readFileSync(this.#logFile, "utf8");
    const answers = new Set<number>();
    for (const match of text.matchAll(/bytes from .*icmp_seq=(\d+) .*time=/g)) {
      answers.add(Number(match[1]));
    }
    return answers;
  }
}
