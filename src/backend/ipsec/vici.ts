/**
 * A client of charon's control interface, VICI, on a UNIX socket.
 *
 * "Client-initiated commands" and "Server-issued events" in strongSwan's
 * src/libcharon/plugins/vici/README.md. A response does not say which request it belongs to: so the
 * requests are sent one after the other, and one without a response in time ends the connection.
 */

import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { SerialQueue } from "../../base/serial_queue.ts";
import { CharonError } from "./charon_error.ts";
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

export interface RequestOptions {
  /** 10 s by default. */
  readonly timeoutMs?: number;
}

export class Vici implements Disposable {
  /** Resolves when either side has ended the connection. */
  readonly closed: Promise<void>;
  readonly #close: () => void;
  readonly #clock: Clock;
  readonly #reader = new PacketReader();
  /** Bytes that the socket does not accept yet. */
  #unsent: Uint8Array = new Uint8Array(0);
  #socket: Bun.Socket<undefined> | undefined;
  /** Why the connection has ended. */
  #end: CharonError | undefined;
  readonly #queue = new SerialQueue();
  #waiting: PromiseWithResolvers<ViciPacket> | undefined;
  readonly #listeners = new Map<string, (message: ViciMessage) => void>();

  private constructor(clock: Clock) {
    this.#clock = clock;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#close = resolve;
  }

  /** Connects to the socket at this path. Throws `CharonError`. */
  static async connect(path: string, clock: Clock): Promise<Vici> {
    const vici = new Vici(clock);
    try {
      vici.#socket = await Bun.connect({
        unix: path,
        socket: {
          data: (_socket, bytes) => vici.#read(bytes),
          drain: () => vici.#write(),
          close: () => vici.#ended(new CharonError("closed", "charon has closed the connection")),
          error: (_socket, cause) => {
            const message = `the connection to charon has failed: ${cause.message}`;
            vici.#ended(new CharonError("closed", message, { cause }));
          },
        },
      });
      return vici;
    } catch (cause) {
      const message = `cannot connect to charon at ${path}: ${connectReason(cause)}`;
      throw new CharonError("unreachable", message, { cause });
    }
  }

  /** Sends a command and returns its response. Throws `CharonError`. */
  request(
    command: string,
    message: ViciMessage = {},
    options: RequestOptions = {},
  ): Promise<ViciMessage> {
    return this.#queue.run(() => this.#request(command, message, options));
  }

  /**
   * Sends a command whose response says whether it succeeded. Throws `CharonError` if it did not.
   */
  async command(command: string, message: ViciMessage = {}): Promise<void> {
    const response = await this.request(command, message);
    if (response["success"] === "yes") return;
    const reason = response["errmsg"];
    const text = typeof reason === "string" && reason !== "" ? reason : "no reason given";
    throw new CharonError("refused", `charon refused ${command}: ${text}`, { command });
  }

  /**
   * Sends a command that causes one event for each entry, and returns the messages of the events.
   */
  list(command: string, event: string, message: ViciMessage = {}): Promise<ViciMessage[]> {
    return this.#queue.run(async () => {
      const entries: ViciMessage[] = [];
      this.#listeners.set(event, (entry) => entries.push(entry));
      try {
        await this.#exchange(event, encodePacket(EVENT_REGISTER, event), EVENT_CONFIRM);
        await this.#request(command, message);
        await this.#exchange(event, encodePacket(EVENT_UNREGISTER, event), EVENT_CONFIRM);
      } finally {
        this.#listeners.delete(event);
      }
      return entries;
    });
  }

  /** Calls `listener` for each event of this name from now on. Throws `CharonError`. */
  subscribe(event: string, listener: (message: ViciMessage) => void): Promise<void> {
    this.#listeners.set(event, listener);
    return this.#queue.run(async () => {
      await this.#exchange(event, encodePacket(EVENT_REGISTER, event), EVENT_CONFIRM);
    });
  }

  [Symbol.dispose](): void {
    this.#ended(new CharonError("closed", "the connection to charon was closed"));
  }

  async #request(
    command: string,
    message: ViciMessage,
    options: RequestOptions = {},
  ): Promise<ViciMessage> {
    const packet = encodePacket(CMD_REQUEST, command, message);
    return (await this.#exchange(command, packet, CMD_RESPONSE, options)).message;
  }

  async #exchange(
    command: string,
    packet: Uint8Array,
    expected: number,
    { timeoutMs = TIMEOUT_MS }: RequestOptions = {},
  ): Promise<ViciPacket> {
    if (this.#end !== undefined) throw this.#end;
    this.#waiting = Promise.withResolvers();
    using _timer = this.#clock.setTimer(timeoutMs, () => {
      const message = `charon did not respond to ${command} within ${timeoutMs / 1000} s`;
      this.#ended(new CharonError("timeout", message, { command }));
    });
    try {
      this.#unsent = Buffer.concat([this.#unsent, packet]);
      this.#write();
      const response = await this.#waiting.promise;
      if (response.type === expected) return response;
      throw new CharonError("refused", `this charon does not support ${command}`, { command });
    } finally {
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
      const message = `cannot read a message of charon: ${errorMessage(cause)}`;
      this.#ended(new CharonError("protocol", message, { cause }));
    }
  }

  #ended(reason: CharonError): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    this.#waiting?.reject(reason);
    this.#socket?.terminate();
    this.#close();
  }
}

/** charon responds within milliseconds, a busy one a little later. */
const TIMEOUT_MS = 10_000;

/** The message of Bun's error is "Failed to connect" for every reason. */
function connectReason(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  return CONNECT_REASONS[code ?? ""] ?? `${message}${code === undefined ? "" : ` (${code})`}`;
}

const CONNECT_REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket",
  ECONNREFUSED: "nothing listens there",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EINVAL: "the path is longer than Linux allows",
};
