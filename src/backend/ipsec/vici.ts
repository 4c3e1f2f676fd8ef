/**
 * A client of charon's control interface, VICI, on a Unix socket.
 *
 * "Client-initiated commands" and "Server-issued events" in strongSwan's
 * src/libcharon/plugins/vici/README.md. An answer does not say which request it is for: requests go
 * one after the other, and one that is not answered in time ends the connection.
 */

import {
  CMD_REQUEST,
  CMD_RESPONSE,
  encodePacket,
  EVENT,
  EVENT_CONFIRM,
  EVENT_REGISTER,
  EVENT_UNREGISTER,
  PacketReader,
  type ViciPacket,
} from "./vici_packet.ts";
import type { ViciMessage } from "./vici_message.ts";

/** charon cannot be reached, does not answer, or says no. */
export class ViciError extends Error {
  override readonly name = "ViciError";
  /** Whether charon answered, and what it says is no: the connection goes on. */
  readonly isRefusal: boolean;

  constructor(command: string, reason: string, options: ErrorOptions & { refusal?: boolean } = {}) {
    super(`charon: ${command}: ${reason}`, options);
    this.isRefusal = options.refusal ?? false;
  }
}

export class Vici implements Disposable {
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  readonly #close: () => void;
  readonly #reader = new PacketReader();
  /** Gets what is sent and cannot be written yet. */
  #unsent: Uint8Array = new Uint8Array(0);
  #socket: Bun.Socket<undefined> | undefined;
  /** Why the connection has ended. */
  #end: ViciError | undefined;
  /** The end of the request that was made last. */
  #last: Promise<unknown> = Promise.resolve();
  #waiting: PromiseWithResolvers<ViciPacket> | undefined;
  readonly #listeners = new Map<string, (message: ViciMessage) => void>();

  private constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#close = resolve;
  }

  /** Connects to the socket at this path. Throws `ViciError`. */
  static async connect(path: string): Promise<Vici> {
    const vici = new Vici();
    try {
      vici.#socket = await Bun.connect({
        unix: path,
        socket: {
          data: (_socket, bytes) => vici.#read(bytes),
          drain: () => vici.#write(),
          close: () => vici.#ended(new ViciError("connection", "charon has closed it")),
          error: (_socket, cause) =>
            vici.#ended(new ViciError("connection", cause.message, { cause })),
        },
      });
      return vici;
    } catch (cause) {
      throw new ViciError("connect", `cannot connect to ${path}: ${reasonOf(cause)}`, { cause });
    }
  }

  /** Sends a command and gives its response. Throws `ViciError`. */
  request(
    command: string,
    message: ViciMessage = {},
    timeoutMs: number = ANSWER_TIMEOUT_MS,
  ): Promise<ViciMessage> {
    return this.#inTurn(() => this.#request(command, message, timeoutMs));
  }

  /** Sends a command whose response says whether it was carried out. Throws `ViciError` if not. */
  async command(command: string, message: ViciMessage = {}, timeoutMs?: number): Promise<void> {
    const response = await this.request(command, message, timeoutMs);
    if (response["success"] === "yes") return;
    const reason = response["errmsg"];
    const text = typeof reason === "string" && reason !== "" ? reason : "it was not carried out";
    throw new ViciError(command, text, { refusal: true });
  }

  /** Sends a command that answers with one event for each entry, and gives their messages. */
  list(command: string, event: string, message: ViciMessage = {}): Promise<ViciMessage[]> {
    return this.#inTurn(async () => {
      const entries: ViciMessage[] = [];
      this.#listeners.set(event, (entry) => entries.push(entry));
      try {
        await this.#exchange(event, encodePacket(EVENT_REGISTER, event), EVENT_CONFIRM);
        await this.#request(command, message, ANSWER_TIMEOUT_MS);
        await this.#exchange(event, encodePacket(EVENT_UNREGISTER, event), EVENT_CONFIRM);
      } finally {
        this.#listeners.delete(event);
      }
      return entries;
    });
  }

  /** Calls `listener` for each event of this name from now on. Throws `ViciError`. */
  subscribe(event: string, listener: (message: ViciMessage) => void): Promise<void> {
    this.#listeners.set(event, listener);
    return this.#inTurn(async () => {
      await this.#exchange(event, encodePacket(EVENT_REGISTER, event), EVENT_CONFIRM);
    });
  }

  [Symbol.dispose](): void {
    this.#ended(new ViciError("connection", "it was closed"));
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #request(command: string, message: ViciMessage, timeoutMs: number): Promise<ViciMessage> {
    const packet = encodePacket(CMD_REQUEST, command, message);
    return (await this.#exchange(command, packet, CMD_RESPONSE, timeoutMs)).message;
  }

  async #exchange(
    what: string,
    packet: Uint8Array,
    expected: number,
    timeoutMs: number = ANSWER_TIMEOUT_MS,
  ): Promise<ViciPacket> {
    if (this.#end !== undefined) throw this.#end;
    this.#waiting = Promise.withResolvers();
    const timer = setTimeout(
      () => this.#ended(new ViciError(what, `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      this.#unsent = Buffer.concat([this.#unsent, packet]);
      this.#write();
      const answer = await this.#waiting.promise;
      if (answer.type === expected) return answer;
      throw new ViciError(what, "this charon does not know it", { refusal: true });
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  #write(): void {
    if (this.#unsent.length === 0 || this.#end !== undefined) return;
    const written = this.#socket?.write(this.#unsent) ?? 0;
    if (written > 0) this.#unsent = this.#unsent.subarray(written);
  }

  #read(bytes: Uint8Array): void {
    try {
      for (const packet of this.#reader.push(bytes)) {
        if (packet.type === EVENT) this.#listeners.get(packet.name)?.(packet.message);
        else this.#waiting?.resolve(packet);
      }
    } catch (cause) {
      const reason = `it sends what is not understood: ${(cause as Error).message}`;
      this.#ended(new ViciError("connection", reason, { cause }));
    }
  }

  #ended(reason: ViciError): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    this.#waiting?.reject(reason);
    this.#socket?.terminate();
    this.#close();
  }
}

/** charon answers within milliseconds; a busy one takes a little longer. */
const ANSWER_TIMEOUT_MS = 10_000;

/** Bun says "Failed to connect" whatever the reason. */
function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  return CONNECT_REASONS[code ?? ""] ?? `${message}${code === undefined ? "" : ` (${code})`}`;
}

const CONNECT_REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket",
  ECONNREFUSED: "nothing listens there",
  EACCES: "this user may not",
  EPERM: "this user may not",
  EINVAL: "the path is longer than Linux allows",
};
