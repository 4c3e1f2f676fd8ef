/**
 * The connections of a server: limits the number of connections and calls, and closes the sockets,
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
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../log/log.ts";
import { type Caller, callerKey } from "../access/auth_sessions.ts";
import type { ServerLimits } from "./server_limits.ts";

interface Connection {
  readonly socket: Socket;
  session: ServerHttp2Session | undefined;
  streams: number;
  /** When its last call ended. */
  idleSinceMs: number;
  /** Who has called on it. */
  readonly callers: Set<string>;
}

export interface ClientConnectionsOptions {
  readonly limits: ServerLimits;
  readonly clock: Clock;
  readonly log: Log;
}

export class ClientConnections {
  readonly #limits: ServerLimits;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #byPeer = new Map<string, Connection>();
  /** Sessions whose socket the runtime has not reported yet. */
  readonly #sessions = new Map<string, ServerHttp2Session>();
  #streams = 0;
  #warnedMs = -Infinity;

  constructor(
    server: Http2Server | Http2SecureServer,
    { limits, clock, log }: ClientConnectionsOptions,
  ) {
    this.#limits = limits;
    this.#clock = clock;
    this.#log = log;
    server.on("connection", (socket: Socket) => this.#connected(socket));
    server.on("session", (session: ServerHttp2Session) => this.#opened(session));
  }

  /** Closes all connections, as soon as they have no calls. */
  close(): void {
    for (const { session, socket } of this.#byPeer.values()) {
      if (session === undefined) socket.destroy();
      else session.close();
    }
  }

  /** Closes all connections at once. */
  destroy(): void {
    for (const connection of [...this.#byPeer.values()]) end(connection);
  }

  /** Counts a call until its response is complete; `false` if there are too many calls. */
  admit({ stream }: Http2ServerRequest, response: Http2ServerResponse): boolean {
    const connection = stream.session && this.#byPeer.get(peerOf(stream.session.socket));
    const { streams, reservedStreams } = this.#limits;
    if (this.#streams >= streams && (connection?.streams ?? 0) >= reservedStreams) {
      this.#warn(
        `limit of ${streams} concurrent calls reached; rejecting further calls of connections ` +
          "that have many",
      );
      return false;
    }
    this.#streams++;
    if (connection !== undefined) connection.streams++;
    response.once("close", () => {
      this.#streams--;
      if (connection === undefined) return;
      connection.streams--;
      connection.idleSinceMs = this.#clock.nowMs();
    });
    return true;
  }

  /** Remembers who has called on a connection. */
  note({ stream }: Http2ServerRequest, caller: Caller): void {
    const connection = stream.session && this.#byPeer.get(peerOf(stream.session.socket));
    connection?.callers.add(callerKey(caller));
  }

  /** Closes the connections on which this caller has called. */
  disconnect(caller: Caller): void {
    for (const connection of [...this.#byPeer.values()]) {
      if (connection.callers.has(callerKey(caller))) end(connection);
    }
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
      this.#warn(`limit of ${this.#limits.connections} connections reached; rejecting new ones`);
      socket.destroy();
      return;
    }
    const session = this.#sessions.get(peer);
    this.#byPeer.set(peer, {
      socket,
      session,
      streams: 0,
      idleSinceMs: this.#clock.nowMs(),
      callers: new Set(),
    });
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
      if (closed?.session === session) {
        this.#clock.setTimer(FLUSH_MS, () => closed.socket.destroy());
      }
    });
    this.#pingRegularly(session, peer);
  }

  /** Closes the connection that has been idle for longest; returns whether there is one. */
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

  /** Closes the oldest connection of another address that has more than half of all. */
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
    const ping = () => {
      const timeout = this.#clock.setTimer(pingTimeoutMs, gone);
      const isSent = session.ping((error) => {
        timeout[Symbol.dispose]();
        if (error) gone();
      });
      if (!isSent) timeout[Symbol.dispose]();
      timer = this.#clock.setTimer(pingIntervalMs, ping);
    };
    let timer = this.#clock.setTimer(pingIntervalMs, ping);
    session.on("close", () => timer[Symbol.dispose]());
  }

  /** At most once a minute. */
  #warn(message: string): void {
    const nowMs = this.#clock.nowMs();
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
