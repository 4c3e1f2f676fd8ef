/** The messages that wait for the client of one watch stream, with a limit of their memory. */

import { sizeOfAll, type WatchEvent, type WatchOutput } from "./watch_event.ts";

/** Limits the events in the queues of all streams together. */
export interface WatchMemory {
  /** Bytes of the events of all streams. */
  heldBytes: number;
  /** Whether a stream that holds `heldBytes` of events may hold `bytes` more. */
  mayHold(bytes: number, heldBytes: number): boolean;
}

/** A client with more unread events than this is served from the history. */
const MAX_QUEUED_EVENTS = 1_000;
const MAX_QUEUED_BYTES = 4 << 20;

export class WatchQueue {
  readonly #memory: WatchMemory;
  readonly #outputs: WatchOutput[] = [];
  #queuedEvents = 0;
  #queuedBytes = 0;
  /** Includes the last message that was taken, which is on its way to the client. */
  #heldBytes = 0;
  #takenBytes = 0;
  #isClosed = false;

  constructor(memory: WatchMemory) {
    this.#memory = memory;
  }

  /** Releases the memory of all messages, which can still be taken. */
  close(): void {
    this.#isClosed = true;
    this.#hold(-this.#heldBytes);
    this.#takenBytes = 0;
  }

  get length(): number {
    return this.#outputs.length;
  }

  push(output: WatchOutput): void {
    this.#outputs.push(output);
  }

  hasRoomFor(events: readonly WatchEvent[]): boolean {
    return this.#queuedEvents < MAX_QUEUED_EVENTS && this.#queuedBytes < MAX_QUEUED_BYTES &&
      this.#memory.mayHold(sizeOfAll(events), this.#heldBytes);
  }

  /** Consecutive events of one watch become one message, so that a burst is not many messages. */
  pushEvents(id: bigint, revision: bigint, events: readonly WatchEvent[]): void {
    this.#queuedEvents += events.length;
    const bytes = sizeOfAll(events);
    this.#queuedBytes += bytes;
    this.#hold(bytes);
    const last = this.#outputs.at(-1);
    if (last?.kind === "events" && last.id === id) {
      const merged = { ...last, revision, events: [...last.events, ...events] };
      this.#outputs[this.#outputs.length - 1] = merged;
    } else {
      this.push({ kind: "events", id, revision, events });
    }
  }

  /** The next message; releases the memory of the one that was taken before. */
  take(): WatchOutput | undefined {
    this.#hold(-this.#takenBytes);
    this.#takenBytes = 0;
    const output = this.#outputs.shift();
    if (output?.kind === "events") this.#takenBytes = sizeOfAll(output.events);
    if (this.#outputs.length === 0) [this.#queuedEvents, this.#queuedBytes] = [0, 0];
    return output;
  }

  #hold(bytes: number): void {
    if (this.#isClosed && bytes > 0) return;
    this.#heldBytes += bytes;
    this.#memory.heldBytes += bytes;
  }
}
