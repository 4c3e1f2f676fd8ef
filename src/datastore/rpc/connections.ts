/**
 * The connections of a server: limits their number and that of their calls, and closes their sockets,
 * which the runtime leaves open when it ends a session.
 */

import {
  constants,
  type Http2SecureServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { Socket } from "node:net";
import type { Log } from "../../log/log.ts";
import type { ServerLimits } from "./server_limits.ts";

interface Connection {
  readonly socket: Socket;
  session: ServerHttp2Session | undefined;
  streams: number;
  /** When its last call ended; milliseconds since 1970. */
  idleSinceMs: number;
}

export class ClientConnections {
  readonly #limits: ServerLimits;
  readonly #log: Log;
  readonly #byPeer = new Map<string, Connection>();
  /** Sessions whose socket the runtime has not reported yet. */
  readonly #sessions = new Map<string, ServerHttp2Session>();
  #streams = 0;
  #warnedMs = -Infinity;

  constructor(server: Http2Server | Http2SecureServer, limits: ServerLimits, log: Log) {
    this.#limits = limits;
    this.#log = log;
    server.on("connection", (socket: Socket) => this.#connected(socket));
    server.on("session", (session: ServerHttp2Session) => this.#opened(session));
  }

  /** Closes all connections; those with calls when these are over, or at `destroy`. */
  close(): void {
    for (const { session, socket } of this.#byPeer.values()) {
      if (session === undefined) socket.destroy();
      else session.close();
    }
  }

  destroy(): void {
    for (const connection of [...this.#byPeer.values()]) end(connection);
  }

  /** Counts a call until its answer is complete; `false` if there are too many calls. */
  admit({ stream }: Http2ServerRequest, response: Http2ServerResponse): boolean {
    const connection = stream.session && this.#byPeer.get(peerOf(stream.session.socket));
    const { streams, reservedStreams } = this.#limits;
    if (this.#streams >= streams && (connection?.streams ?? 0) >= reservedStreams) {
      this.#warn(`there are ${this.#streams} calls at a time; connections with many get no more`);
      return false;
    }
    this.#streams++;
    if (connection !== undefined) connection.streams++;
    response.once("close", () => {
      this.#streams--;
      if (connection === undefined) return;
      connection.streams--;
      connection.idleSinceMs = Date.now();
    });
    return true;
  }

  /** Closes the connection of a client that floods the server. */
  closeAbusive({ stream }: Http2ServerRequest, reason: string): void {
    const { session } = stream;
    const connection = session && this.#byPeer.get(peerOf(session.socket));
    if (connection === undefined) return;
    this.#log.debug(`closing the connection of ${peerOf(connection.socket)}: ${reason}`);
    end(connection, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #connected(socket: Socket): void {
    const peer = peerOf(socket);
    const isFull = this.#byPeer.size >= this.#limits.connections;
    if (isFull && !this.#endIdle() && !this.#endOneOfMany(socket.remoteAddress)) {
      this.#warn(`there are ${this.#byPeer.size} connections; more are refused`);
      socket.destroy();
      return;
    }
    const session = this.#sessions.get(peer);
    this.#byPeer.set(peer, { socket, session, streams: 0, idleSinceMs: Date.now() });
    this.#sessions.delete(peer);
    socket.once("close", () => {
      if (this.#byPeer.get(peer)?.socket === socket) this.#byPeer.delete(peer);
    });
  }

  #opened(session: ServerHttp2Session): void {
    const peer = peerOf(session.socket);
    const connection = this.#byPeer.get(peer);
    if (connection === undefined) this.#sessions.set(peer, session);
    else connection.session = session;
    session.on("error", (error) => this.#log.debug(`a connection failed: ${error.message}`));
    session.once("close", () => {
      this.#sessions.delete(peer);
      const closed = this.#byPeer.get(peer);
      // Pending data is sent first.
      if (closed?.session === session) setTimeout(() => closed.socket.destroy(), FLUSH_MS);
    });
    this.#pingRegularly(session, peer);
  }

  /** Makes room by closing the connection that has been idle for longest, if there is one. */
  #endIdle(): boolean {
    let longest: Connection | undefined;
    for (const connection of this.#byPeer.values()) {
      const isIdle = connection.streams === 0;
      if (isIdle && (longest === undefined || connection.idleSinceMs < longest.idleSinceMs)) {
        longest = connection;
      }
    }
    return longest !== undefined && this.#makeRoom(longest);
  }

  /** Makes room for another address: of one that has more than half of all, the oldest. */
  #endOneOfMany(newcomer: string | undefined): boolean {
    const counts = new Map<string | undefined, number>();
    for (const { socket: { remoteAddress } } of this.#byPeer.values()) {
      counts.set(remoteAddress, (counts.get(remoteAddress) ?? 0) + 1);
    }
    for (const connection of this.#byPeer.values()) {
      const { remoteAddress } = connection.socket;
      const isMany = (counts.get(remoteAddress) ?? 0) > this.#limits.connections / 2;
      if (isMany && remoteAddress !== newcomer) return this.#makeRoom(connection);
    }
    return false;
  }

  #makeRoom(connection: Connection): true {
    this.#byPeer.delete(peerOf(connection.socket));
    end(connection);
    return true;
  }

  #pingRegularly(session: ServerHttp2Session, peer: string): void {
    const { pingIntervalMs, pingTimeoutMs } = this.#limits;
    const gone = () => {
      const connection = this.#byPeer.get(peer);
      if (connection?.session === session) end(connection);
      else session.destroy();
    };
    const timer = setInterval(() => {
      const late = setTimeout(gone, pingTimeoutMs);
      const isSent = session.ping((error) => {
        clearTimeout(late);
        if (error) gone();
      });
      if (!isSent) clearTimeout(late);
    }, pingIntervalMs);
    session.on("close", () => clearInterval(timer));
  }

  /** At most once a minute. */
  #warn(message: string): void {
    const nowMs = Date.now();
    if (nowMs - this.#warnedMs < 60_000) return;
    this.#warnedMs = nowMs;
    this.#log.warn(message);
  }
}

const FLUSH_MS = 1_000;

function end({ session, socket }: Connection, code: number = constants.NGHTTP2_NO_ERROR): void {
  if (session !== undefined && !session.destroyed) {
    session.goaway(code);
    session.destroy();
  }
  setImmediate(() => socket.destroy());
}

function peerOf(
  { remoteAddress, remotePort }: Pick<Socket, "remoteAddress" | "remotePort">,
): string {
  return `${remoteAddress} port ${remotePort}`;
}
