/** An HTTP proxy that connects to one server, whatever name a client asks for (RFC 9110 9.3.6). */

import { connect, createServer, type Server, type Socket } from "node:net";

export class ConnectProxy implements AsyncDisposable {
  /** What clients have asked for, such as `releases.example.com:443`. */
  readonly targets: string[] = [];
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  static async create(
    upstream: { readonly host: string; readonly port: number },
  ): Promise<ConnectProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const proxy = new ConnectProxy(server, `http://127.0.0.1:${port}`);
    server.on("connection", (client) => proxy.#serve(client, upstream));
    return proxy;
  }

  private constructor(server: Server, url: string) {
    this.#server = server;
    this.url = url;
  }

  #serve(client: Socket, upstream: { readonly host: string; readonly port: number }): void {
    this.#keep(client);
    let head = "";
    const onData = (chunk: Buffer) => {
      head += chunk.toString("latin1");
      const [, target] = /^CONNECT (\S+) HTTP\/1\.[01]\r\n[^]*\r\n\r\n$/.exec(head) ?? [];
      if (target === undefined) return;
      client.off("data", onData);
      this.targets.push(target);
      const server = connect(upstream, () => {
        client.write("HTTP/1.1 200 Connection established\r\n\r\n");
        client.pipe(server).pipe(client);
      });
      this.#keep(server);
    };
    client.on("data", onData);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
