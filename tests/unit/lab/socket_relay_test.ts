import { afterAll, expect, test } from "bun:test";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { relaySocket } from "../../../src/lab/kube/socket_relay.ts";
import { eventually } from "../../support/wait.ts";

const directory = mkdtempSync(join(tmpdir(), "socket-relay-"));
afterAll(() => rmSync(directory, { recursive: true }));

test("bytes pass in both directions, and the end of the server is the client's", async () => {
  const server = createServer((client) => {
    client.once("data", (bytes) => client.end(`received ${bytes}`));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = join(directory, "socket");
  void relaySocket({ socket, host: "127.0.0.1", port });
  await eventually("the relay listens", 10_000, () => existsSync(socket));
  const client = connect(socket);
  let text = "";
  client.on("data", (bytes) => text += bytes);
  client.write("hello");
  await once(client, "close");
  expect(text).toBe("received hello");
  server.close();
});

test("a client of a server that does not listen is disconnected", async () => {
  const socket = join(directory, "other");
  void relaySocket({ socket, host: "127.0.0.1", port: 1 });
  await eventually("the relay listens", 10_000, () => existsSync(socket));
  const client = connect(socket);
  await once(client, "close");
});

test("a relay that cannot listen fails", async () => {
  const relay = relaySocket({ socket: join(directory, "none/socket"), host: "::1", port: 1 });
  await expect(relay).rejects.toThrow();
});
