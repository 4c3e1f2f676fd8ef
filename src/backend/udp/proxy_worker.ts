/**
 * The proxy's thread: moves packets, and waits in poll(2) while there are none. It returns to the
 * event loop only for commands, which the eventfd announces one by one.
 */

import { POLLERR, POLLIN } from "../../../ffi/linux.ts";
import { systemClock } from "../../base/clock.ts";
import { IcmpSender } from "./icmp_sender.ts";
import { NextHops } from "./next_hops.ts";
import { PacketPump } from "./packet_pump.ts";
import { PollSet } from "./poll_set.ts";
import { ProxyEnds } from "./proxy_ends.ts";
import type { HopChange, ProxyCommand, ProxyEvent } from "./proxy_messages.ts";
import { UnsentCounter } from "./unsent.ts";
import { WakeCounter } from "./wake_counter.ts";

/** The longest time until a new device or address is found. */
const RETRY_MS = 100;
/** Rounds of packets between two looks at the eventfd. */
const MAX_ROUNDS = 32;

/** Indexes of the descriptors that the thread waits for. */
const WAKE = 0;
const TUN = 1;
const SOCKET = 2;

class ProxyWorker implements Disposable {
  readonly #wake: WakeCounter;
  readonly #ends: ProxyEnds;
  readonly #hops = new NextHops();
  readonly #icmp = new IcmpSender(systemClock);
  readonly #pump: PacketPump;
  readonly #poll = new PollSet(3);
  #isComplete = false;
  #isStopped = false;
  #reportedProblems: string | undefined;

  constructor({ wakeFd, settings }: ProxyCommand & { kind: "start" }) {
    this.#wake = new WakeCounter(wakeFd);
    this.#ends = new ProxyEnds(settings);
    const unsent = new UnsentCounter(systemClock, (report) => post({ kind: "unsent", ...report }));
    this.#pump = new PacketPump({
      hops: this.#hops,
      clock: systemClock,
      onRejected: (packet, why) =>
        this.#icmp.send(packet, { ...why, source: this.#ends.settings.nodeAddress }),
      onUnsent: (why) => unsent.add(why),
    });
  }

  handle(command: ProxyCommand): void {
    switch (command.kind) {
      case "start":
        break;
      case "settings":
        this.#ends.set(command.settings);
        break;
      case "hops":
        for (const change of command.changes) this.#changeHop(change);
        break;
      case "complete":
        this.#isComplete = true;
        break;
      case "stop":
        this[Symbol.dispose]();
        post({ kind: "stopped" });
        return;
    }
    this.#wake.handled();
    if (this.#wake.isIdle) this.#run();
  }

  /** Closes all descriptors. */
  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#ends[Symbol.dispose]();
    this.#icmp[Symbol.dispose]();
  }

  /** Moves packets until a command is announced. */
  #run(): void {
    while (!this.#isStopped && this.#wake.isIdle) {
      this.#ends.open();
      this.#reportProblems();
      this.#wait();
      const { settings, tunFd, socketFd } = this.#ends;
      const ends = { ...settings, tunFd, socketFd };
      for (let round = 0; this.#ends.areOpen && round < MAX_ROUNDS; round++) {
        const hasSent = this.#isComplete && this.#pump.sendFromDevice(ends);
        const hasReceived = this.#pump.receiveToDevice(ends);
        if (!hasSent && !hasReceived) break;
      }
    }
  }

  /** Until there is a packet or a command, or until it is time to open the ends again. */
  #wait(): void {
    const { tunFd, socketFd, areOpen } = this.#ends;
    this.#poll.watch(WAKE, this.#wake.fd, POLLIN);
    // Until all peers are known, packets wait in the device; only its deletion is of interest.
    this.#poll.watch(TUN, tunFd, this.#isComplete ? POLLIN : 0);
    this.#poll.watch(SOCKET, areOpen ? socketFd : -1, POLLIN);
    if (!this.#poll.wait(areOpen ? -1 : RETRY_MS)) return;
    if ((this.#poll.events(WAKE) & POLLIN) !== 0) this.#wake.read();
    if ((this.#poll.events(TUN) & POLLERR) !== 0) this.#ends.closeTun();
  }

  #changeHop({ subnet, hop }: HopChange): void {
    if (hop === undefined) this.#hops.delete(subnet);
    else this.#hops.set(subnet, hop);
  }

  #reportProblems(): void {
    const { problems } = this.#ends;
    const text = problems.join("\n");
    if (text === this.#reportedProblems) return;
    this.#reportedProblems = text;
    post({ kind: "state", problems });
  }
}

let worker: ProxyWorker | undefined;

addEventListener("message", ({ data }: MessageEvent<ProxyCommand>) => {
  try {
    if (data.kind === "start") worker = new ProxyWorker(data);
    worker?.handle(data);
  } catch (error) {
    // Descriptors belong to the process: if they stayed open, the next thread could not use the
    // port.
    worker?.[Symbol.dispose]();
    throw error;
  }
});

function post(event: ProxyEvent): void {
  postMessage(event);
}
