/** charon's end of a control socket, for behaviour that a real one does not show on demand. */

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

/** The response; `undefined` for none, "unknown" for a command that charon does not have. */
export type ViciHandler = (call: ViciCall) => ViciMessage | undefined | "unknown";

/** Listens at a path until disposed; records the requests, as command and message. */
export class ViciServer implements Disposable {
  readonly calls: [string, ViciMessage][] = [];
  readonly #listener: Bun.UnixSocketListener<Client>;

  constructor(path: string, handle: ViciHandler) {
    this.#listener = Bun.listen<Client>({
      unix: path,
      socket: {
        open: (socket) => void (socket.data = { reader: new PacketReader(), unsent: [] }),
        data: (socket, bytes) => {
          for (const packet of socket.data.reader.push(bytes)) {
            this.#respond(socket, packet, handle);
          }
        },
        drain: flush,
      },
    });
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }

  #respond(socket: Bun.Socket<Client>, packet: ViciPacket, handle: ViciHandler): void {
    const { type, name, message } = packet;
    if (type === EVENT_REGISTER || type === EVENT_UNREGISTER) {
      return send(socket, serverPacket([EVENT_CONFIRM]));
    }
    if (type !== CMD_REQUEST) return;
    this.calls.push([name, message]);
    const response = handle({
      command: name,
      message,
      event: (event, message) => {
        const head = [EVENT, event.length, ...Buffer.from(event)];
        send(socket, serverPacket(head, encodeMessage(message)));
      },
      raw: (bytes) => send(socket, bytes),
      hangUp: () => socket.terminate(),
    });
    if (response === "unknown") send(socket, serverPacket([CMD_UNKNOWN]));
    else if (response !== undefined) {
      send(socket, serverPacket([CMD_RESPONSE], encodeMessage(response)));
    }
  }
}

interface Client {
  readonly reader: PacketReader;
  readonly unsent: Uint8Array[];
}

/** Like charon, it silently discards packets that are too long. */
function send(socket: Bun.Socket<Client>, bytes: Uint8Array): void {
  if (bytes.length > 4 + 512 * 1024) return;
  socket.data.unsent.push(bytes);
  if (socket.data.unsent.length === 1) flush(socket);
}

function flush(socket: Bun.Socket<Client>): void {
  const { unsent } = socket.data;
  for (let bytes = unsent[0]; bytes !== undefined; bytes = unsent[0]) {
    const written = Math.max(socket.write(bytes), 0);
    if (written < bytes.length) {
      unsent[0] = bytes.subarray(written);
      return;
    }
    unsent.shift();
  }
}

function serverPacket(head: readonly number[], message: Uint8Array = new Uint8Array(0)): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length + message.length);
  return Buffer.concat([length, Buffer.from(head), message]);
}
