/**
 * The proxy's thread: moves packets, and waits in poll(2) while there are none. It returns to the
 * event loop only for messages, which the eventfd announces one by one.
 */

import { libc } from "../../../ffi/libc.ts";
import { POLLERR, pollfd, POLLIN } from "../../../ffi/linux.ts";
import { addressOf } from "../../../ffi/memory.ts";
import { IcmpSender } from "./icmp_sender.ts";
import { NextHops } from "./next_hops.ts";
import { PacketPump } from "./packet_pump.ts";
import { ProxyEnds } from "./proxy_ends.ts";
import type { FromProxy, HopChange, ToProxy } from "./proxy_messages.ts";
import type { Unsent } from "./unsent.ts";

/** How long it takes to find that a device or an address is back. */
const RETRY_MS = 100;
/** Rounds of packets between two looks at the eventfd. */
const MAX_ROUNDS = 32;
const UNSENT_REPORT_MS = 60_000;

class ProxyThread implements Disposable {
  readonly #wakeFd: number;
  readonly #ends: ProxyEnds;
  readonly #hops = new NextHops();
  readonly #icmp = new IcmpSender();
  readonly #pump: PacketPump;
  readonly #fds = new DataView(new ArrayBuffer(3 * pollfd.size));
  readonly #fdsAt = addressOf(new Uint8Array(this.#fds.buffer));
  readonly #counter = new BigUint64Array(1);
  #handled = 0;
  #announced = 0;
  #isComplete = false;
  #isStopped = false;
  #told: string | undefined;
  readonly #unsent = new Map<number, { packets: number; saidAtMs: number }>();

  constructor({ wakeFd, settings }: ToProxy & { kind: "start" }) {
    this.#wakeFd = wakeFd;
    this.#ends = new ProxyEnds(settings);
    this.#pump = new PacketPump({
      hops: this.#hops,
      complain: (packet, why) =>
        this.#icmp.send(packet, { ...why, source: this.#ends.settings.nodeAddress }),
      onUnsent: (why) => this.#countUnsent(why),
    });
  }

  handle(message: ToProxy): void {
    switch (message.kind) {
      case "start":
        break;
      case "settings":
        this.#ends.set(message.settings);
        break;
      case "hops":
        for (const change of message.changes) this.#changeHop(change);
        break;
      case "complete":
        this.#isComplete = true;
        break;
      case "stop":
        this[Symbol.dispose]();
        tell({ kind: "stopped" });
        return;
    }
    this.#handled++;
    if (this.#handled >= this.#announced) this.#run();
  }

  /** Closes what is open. */
  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#ends[Symbol.dispose]();
    this.#icmp[Symbol.dispose]();
  }

  /** Moves packets until messages wait. */
  #run(): void {
    while (!this.#isStopped && this.#handled >= this.#announced) {
      this.#ends.open();
      this.#tellState();
      this.#wait();
      const ends = { ...this.#ends.settings, ...this.#fdsOfEnds() };
      for (let round = 0; this.#ends.areOpen && round < MAX_ROUNDS; round++) {
        const hasSent = this.#isComplete && this.#pump.sendFromDevice(ends);
        const hasReceived = this.#pump.receiveToDevice(ends);
        if (!hasSent && !hasReceived) break;
      }
    }
  }

  /** Until there is a packet, a message, or time to try again. */
  #wait(): void {
    const { tunFd, socketFd } = this.#fdsOfEnds();
    this.#watch(0, this.#wakeFd, POLLIN);
    // Before all peers are known, packets wait in the device; only its end is looked for.
    this.#watch(1, tunFd, this.#isComplete ? POLLIN : 0);
    this.#watch(2, this.#ends.areOpen ? socketFd : -1, POLLIN);
    const ready = libc().poll(this.#fdsAt, 3, this.#ends.areOpen ? -1 : RETRY_MS);
    if (ready <= 0) return;
    if ((this.#happened(0) & POLLIN) !== 0) {
      libc().read(this.#wakeFd, addressOf(this.#counter), 8);
      this.#announced += Number(this.#counter[0]);
    }
    if ((this.#happened(1) & POLLERR) !== 0) this.#ends.closeTun();
  }

  #fdsOfEnds(): { tunFd: number; socketFd: number } {
    return { tunFd: this.#ends.tunFd, socketFd: this.#ends.socketFd };
  }

  /** poll(2) passes over a negative descriptor. */
  #watch(index: number, fd: number, events: number): void {
    this.#fds.setInt32(index * pollfd.size + pollfd.fd, fd, true);
    this.#fds.setInt16(index * pollfd.size + pollfd.events, events, true);
  }

  #happened(index: number): number {
    return this.#fds.getInt16(index * pollfd.size + pollfd.revents, true);
  }

  #changeHop({ subnet, hop }: HopChange): void {
    if (hop === undefined) this.#hops.delete(subnet);
    else this.#hops.set(subnet, hop);
  }

  #tellState(): void {
    const { problems } = this.#ends;
    const text = problems.join("\n");
    if (text === this.#told) return;
    this.#told = text;
    tell({ kind: "state", problems });
  }

  #countUnsent({ errno, destination }: Omit<Unsent, "packets">): void {
    const now = performance.now();
    const known = this.#unsent.get(errno) ?? { packets: 0, saidAtMs: -Infinity };
    this.#unsent.set(errno, known);
    known.packets++;
    if (now - known.saidAtMs < UNSENT_REPORT_MS) return;
    tell({ kind: "unsent", errno, destination, packets: known.packets });
    known.packets = 0;
    known.saidAtMs = now;
  }
}

let thread: ProxyThread | undefined;

addEventListener("message", ({ data }: MessageEvent<ToProxy>) => {
  try {
    if (data.kind === "start") thread = new ProxyThread(data);
    thread?.handle(data);
  } catch (error) {
    // Descriptors are the process's: left open, they would be in the way of the next thread.
    thread?.[Symbol.dispose]();
    throw error;
  }
});

function tell(message: FromProxy): void {
  postMessage(message);
}
