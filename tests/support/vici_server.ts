/** charon's end of a control socket, for what the real one does not do when it is asked. */

import { encodeMessage, type ViciMessage } from "../../src/backend/ipsec/vici_message.ts";
import {
  CMD_REQUEST,
  CMD_RESPONSE,
  CMD_UNKNOWN,
  EVENT,
  EVENT_CONFIRM,
  EVENT_REGISTER,
  EVENT_UNREGISTER,
  PacketReader,
  type ViciPacket,
} from "../../src/backend/ipsec/vici_packet.ts";

export interface ViciCall {
  readonly command: string;
  readonly message: ViciMessage;
  /** Sends an event to the client that called. */
  event(name: string, message: ViciMessage): void;
  /** Sends these bytes as they are. */
  raw(bytes: Uint8Array): void;
  /** Ends the client's connection. */
  hangUp(): void;
}

/** The response; `undefined` for none, "unknown" for a command that there is not. */
export type ViciHandler = (call: ViciCall) => ViciMessage | undefined | "unknown";

/** Listens at a path until disposed; keeps what was asked, as `command` and message. */
export class ViciServer implements Disposable {
  readonly calls: [string, ViciMessage][] = [];
  readonly #listener: Bun.UnixSocketListener<PacketReader>;

  constructor(path: string, handle: ViciHandler) {
    this.#listener = Bun.listen<PacketReader>({
      unix: path,
      socket: {
        open: (socket) => void (socket.data = new PacketReader()),
        data: (socket, bytes) => {
          for (const packet of socket.data.push(bytes)) this.#answer(socket, packet, handle);
        },
      },
    });
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }

  #answer(socket: Bun.Socket<PacketReader>, packet: ViciPacket, handle: ViciHandler): void {
    const { type, name, message } = packet;
    if (type === EVENT_REGISTER || type === EVENT_UNREGISTER) {
      return void socket.write(serverPacket([EVENT_CONFIRM]));
    }
    if (type !== CMD_REQUEST) return;
    this.calls.push([name, message]);
    const answer = handle({
      command: name,
      message,
      event: (event, message) => {
        const head = [EVENT, event.length, ...Buffer.from(event)];
        socket.write(serverPacket(head, encodeMessage(message)));
      },
      raw: (bytes) => void socket.write(bytes),
      hangUp: () => socket.terminate(),
    });
    if (answer === "unknown") socket.write(serverPacket([CMD_UNKNOWN]));
    else if (answer !== undefined) {
      socket.write(serverPacket([CMD_RESPONSE], encodeMessage(answer)));
    }
  }
}

function serverPacket(head: readonly number[], message: Uint8Array = new Uint8Array(0)): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length + message.length);
  return Buffer.concat([length, Buffer.from(head), message]);
}
