import { expect, test } from "bun:test";
import { socketInodes, udpPortTaken } from "../../../src/process/udp_port.ts";

const TABLE = `
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
retrnsmt   uid  timeout inode ref pointer drops
  501: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 \
00000000     0        0 4711 2 0000000000000000 0
  502: 0100007F:0035 00000000:2118 07 00000000:00000000 00:00000000 \
00000000     0        0 4712 2 0000000000000000 0
  503: 0100007F:2118 00000000:0000 07 00000000:00000000 00:00000000 \
00000000     0        0 0 2 0000000000000000 0
`.trim();

test("sockets are found by their local port", () => {
  expect(socketInodes(TABLE, 8472)).toEqual(["4711"]);
  expect(socketInodes(TABLE, 53)).toEqual(["4712"]);
  expect(socketInodes(TABLE, 8473)).toEqual([]);
});

test.each(["127.0.0.1", "::1"])("the program that has a port of %s is named", async (hostname) => {
  const socket = await Bun.udpSocket({ hostname });
  const text = udpPortTaken(socket.port, "ListenPort");
  expect(text).toContain(`uses UDP port ${socket.port}: `);
  expect(text).toContain(
    `(process ${process.pid}); end it, or set ListenPort in the Backend object to a port that is`,
  );
  socket.close();
  expect(udpPortTaken(socket.port, "Port")).toStartWith(
    `UDP port ${socket.port} is in use by a device of the kernel ("ip -d link show") or a program`,
  );
});
