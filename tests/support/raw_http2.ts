/** HTTP/2 frame by frame (RFC 9113), for what no client library sends. */

import { connect, type Socket } from "node:net";

export const FrameType = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  goaway: 7,
  continuation: 9,
} as const;

export const END_STREAM = 1;
export const END_HEADERS = 4;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function http2Frame(
  type: number,
  { flags = 0, stream = 0, payload = new Uint8Array() }:
    & Partial<Omit<Frame, "type" | "payload">>
    & {
      payload?: Uint8Array;
    } = {},
): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** The beginning of a gRPC call; more has to follow unless `flags` say otherwise. */
export function callHeaders(path: string, stream: number, flags = END_HEADERS): Buffer {
  const fields = {
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "test",
    "content-type": "application/grpc",
    te: "trailers",
  };
  // Literals without indexing (RFC 7541, section 6.2.2).
  const encoded = Object.entries(fields).flatMap(([name, value]) => [
    Buffer.of(0, name.length),
    Buffer.from(name),
    Buffer.of(value.length),
    Buffer.from(value),
  ]);
  return http2Frame(FrameType.headers, { flags, stream, payload: Buffer.concat(encoded) });
}

/**
 * A client that responds to nothing: no PING, no SETTINGS, no window for more than 64 KiB, and once
 * it has vanished, not even the end of the connection.
 */
export class RawHttp2 implements Disposable {
  readonly frames: Frame[] = [];
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>;
  isClosed = false;
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);

  static open(
    port: number,
    { hasVanished = false }: { readonly hasVanished?: boolean } = {},
  ): Promise<RawHttp2> {
    return new Promise((resolve, reject) => {
      const target = { port, host: "127.0.0.1", allowHalfOpen: hasVanished };
      const socket = connect(target, () => resolve(new RawHttp2(socket)));
      socket.once("error", reject);
    });
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => this.#take(bytes));
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.isClosed = true;
        resolve();
      });
    });
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    socket.write(http2Frame(FrameType.settings));
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  /** Resolves when the bytes are on their way, or the connection is closed. */
  async send(...bytes: Uint8Array[]): Promise<void> {
    if (this.isClosed) return;
    const written = new Promise<void>((resolve) => {
      this.#socket.write(Buffer.concat(bytes), () => resolve());
    });
    await Promise.race([written, this.closed]);
  }

  of(type: number, stream?: number): Frame[] {
    return this.frames.filter((frame) =>
      frame.type === type && (stream === undefined || frame.stream === stream)
    );
  }

  /** Why the server ends the connection, in order. */
  get goawayCodes(): number[] {
    return this.of(FrameType.goaway).map(({ payload }) => payload.readUInt32BE(4));
  }

  #take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const end = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) return;
      const frame = this.#rest.subarray(0, end);
      this.frames.push({
        type: frame[3] ?? 0,
        flags: frame[4] ?? 0,
        stream: frame.readUInt32BE(5),
        payload: Buffer.from(frame.subarray(9)),
      });
      this.#rest = this.#rest.subarray(end);
    }
  }
}
