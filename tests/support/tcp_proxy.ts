/** A TCP proxy on loopback that can cut its connections, or let them go silent, for tests. */

import { createServer, type Server, Socket } from "node:net";

export class TcpProxy implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  #silent = false;
  /** Connections accepted so far. */
  accepted = 0;
  /** How often `cutAfter` has cut. */
  cuts = 0;
  /** Bytes that came from the server so far. */
  receivedBytes = 0;
  #cutAt = Infinity;
  #how: "reset" | "end" = "reset";
  #swallow = false;

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new TcpProxy(server, targetPort);
  }

  private constructor(server: Server, targetPort: number) {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy has no port");
    this.port = address.port;
    this.#server = server;
    this.#targetPort = targetPort;
    server.on("connection", (client) => this.#accept(client));
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resets all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
  }

  /**
   * Cuts when the server has sent this many more bytes. "reset" also takes away what the client has
   * not read yet; with "end" it gets all that was sent before the cut.
   */
  cutAfter(bytes: number, how: "reset" | "end" = "reset"): void {
    this.#cutAt = this.receivedBytes + bytes;
    this.#how = how;
  }

  /** Cuts at the server's next response, which it does not forward. */
  swallowAnswers(): void {
    this.#cutAt = 0;
    this.#how = "reset";
    this.#swallow = true;
  }

  /** Silently forwards nothing any more, in both directions: a lost network. */
  silence(): void {
    this.#silent = true;
  }

  /** Forwards new connections again; silenced ones stay lost. */
  restore(): void {
    this.#silent = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket): void {
    this.accepted++;
    const upstream = new Socket().connect(this.#targetPort, "127.0.0.1");
    const wasSilent = { value: this.#silent };
    const isSilent = () => wasSilent.value ||= this.#silent;
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        if (isSilent()) return;
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (data) => {
      if (!isSilent()) upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (isSilent()) return;
      this.receivedBytes += data.length;
      if (!this.#swallow && !client.write(data)) {
        upstream.pause();
        client.once("drain", () => upstream.resume());
      }
      if (this.receivedBytes >= this.#cutAt) {
        this.#cutAt = Infinity;
        this.#swallow = false;
        this.cuts++;
        if (this.#how === "end") client.end();
        else this.cut();
      }
    });
  }
}
