/**
 * Passes connections to a port of 127.0.0.1 on to an address. A test that ends it cuts the
 * connections of one daemon.
 *
 *     bun port_relay.ts LISTEN_PORT HOST PORT
 */

import { relayServer } from "../../../src/lab/kube/socket_relay.ts";

const [listenPort = "", host = "", port = ""] = process.argv.slice(2);

relayServer({ host, port: Number(port) }).listen(Number(listenPort), "127.0.0.1");
