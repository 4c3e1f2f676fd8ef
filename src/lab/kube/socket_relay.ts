/**
 * Passes connections to a Unix socket on to an address, byte for byte. A process that runs it in a
 * network namespace opens a server there to processes outside of it.
 */

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export interface SocketRelay {
  /** Path of the Unix socket. */
  readonly socket: string;
  readonly host: string;
  readonly port: number;
}

/** Listens until the process ends. Rejects if it cannot listen. */
export async function relaySocket({ socket, host, port }: SocketRelay): Promise<void> {
  const server = relayServer({ host, port });
  server.listen(socket);
  await once(server, "close");
}

/** A server that does not listen yet. */
export function relayServer(target: { readonly host: string; readonly port: number }): Server {
  return createServer((near) => {
    const far = connect(target);
    join(near, far);
    join(far, near);
  });
}

/** The end of one connection, whether proper or not, is the end of the other. */
function join(from: Socket, to: Socket): void {
  from.pipe(to);
  from.on("error", () => to.destroy());
  from.on("close", () => to.destroy());
}
