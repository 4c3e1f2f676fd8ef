/** Identifies the program at an endpoint that is not etcd's v3 API, by a request in HTTP/1.1. */

import { connect as connectPlain, type Socket } from "node:net";
import { urlHost } from "../../addr/ip.ts";
import { quoted } from "../../base/quoting.ts";
import type { Clock } from "../../base/clock.ts";
import type { EtcdEndpoint } from "./endpoint.ts";
import { connectTls } from "./tls_socket.ts";
import type { TlsMaterial } from "../../base/tls_files.ts";

const MAX_BYTES = 4096;

/** One line with what to do about it; `undefined` if the program is not recognized in time. */
export async function probeEndpoint(
  endpoint: EtcdEndpoint,
  options: ProbeOptions,
): Promise<string | undefined> {
  const plainText = { ...options, material: undefined };
  if (options.material === undefined) {
    return recognized(await ask(endpoint, plainText), "the same", endpoint);
  }
  return recognized(await ask(endpoint, options), "the same", endpoint) ??
    recognized(await ask(endpoint, plainText), "plain instead of TLS", endpoint);
}

export interface ProbeOptions {
  /** For TLS; without it, the probe is in plain text. */
  readonly material: TlsMaterial | undefined;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/** What the server sends until the timeout, the end of the connection, or `MAX_BYTES`. */
function ask(
  { host, port }: EtcdEndpoint,
  { material, timeoutMs, clock }: ProbeOptions,
): Promise<Buffer> {
  const socket: Socket = material === undefined
    ? connectPlain({ host, port })
    : connectTls({ host, port }, material, ["http/1.1"]);
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const finish = () => {
    timer[Symbol.dispose]();
    socket.destroy();
    resolve(Buffer.concat(chunks).subarray(0, MAX_BYTES));
  };
  const timer = clock.setTimer(timeoutMs, finish);
  socket.on("error", finish);
  socket.on("close", finish);
  socket.on("end", finish);
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_BYTES) finish();
  });
  socket.on(material === undefined ? "connect" : "secureConnect", () => {
    socket.write(`GET /version HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  });
  return promise;
}

/** The protocol of the probe: that of the endpoint's URL, or plain text to an https:// endpoint. */
type ProbeProtocol = "the same" | "plain instead of TLS";

function recognized(
  response: Buffer,
  protocol: ProbeProtocol,
  endpoint: EtcdEndpoint,
): string | undefined {
  const text = response.toString("latin1");
  if (isTlsAlert(response) || WANTS_TLS.test(text)) {
    // Expected of an https:// endpoint.
    return protocol === "the same"
      ? `a TLS server answers there: write ${withScheme("https", endpoint)}`
      : undefined;
  }
  if (text.startsWith("HTTP/1.")) return recognizedHttp(text, protocol, endpoint);
  if (text === "" || isHttp2(response)) return undefined;
  const [line = ""] = text.split(/[\r\n]/, 1);
  const program = line.startsWith("SSH-") ? "an SSH server" : "another program";
  return `${program} answers there, not etcd, with ${quoted(line)}: check the port, ${PORT}`;
}

const PORT = "2379 unless etcd is configured otherwise";
/** The responses of Go, nginx and Apache. */
const WANTS_TLS =
  /HTTP request to an HTTPS server|sent to HTTPS port|speaking plain HTTP to an SSL/;

/** The endpoint's URL with the other scheme; without the port where the endpoint has none. */
function withScheme(scheme: "http" | "https", { host, port, hasPort }: EtcdEndpoint): string {
  return `${scheme}://${urlHost(host)}${hasPort ? `:${port}` : ""}`;
}

function recognizedHttp(text: string, protocol: ProbeProtocol, endpoint: EtcdEndpoint): string {
  const [, version = ""] = /"etcdserver":\s*"([\w.+-]{1,40})"/.exec(text) ?? [];
  if (version === "") {
    const [, status = ""] = /^HTTP\/1\.\d (\d{3})/.exec(text) ?? [];
    const [, server] = /^server:[ \t]*(.+?)\r?$/im.exec(text) ?? [];
    const called = server === undefined ? "" : `${quoted(server)}, `;
    return `a web server or proxy answers there, not etcd (${called}HTTP ${status}): check the ` +
      `address and the port, ${PORT}; a proxy in front of etcd has to forward HTTP/2`;
  }
  if (/^[012]\./.test(version)) {
    return `etcd ${version} answers there, which has no v3 API: etcd 3.4 or newer is needed`;
  }
  return protocol === "plain instead of TLS"
    ? `etcd ${version} answers there without TLS: write ${withScheme("http", endpoint)}`
    : `etcd ${version} answers there in HTTP/1.1 only: a proxy in front of it has to forward ` +
      "HTTP/2";
}

/** A record of the type alert and a version (RFC 8446 5.1). */
function isTlsAlert(response: Buffer): boolean {
  return response.length >= 3 && response[0] === 21 && response[1] === 3;
}

/** An HTTP/2 server sends a SETTINGS frame first (RFC 9113 3.4). */
function isHttp2(response: Buffer): boolean {
  return response.length >= 9 && response[0] === 0 && response[3] === 4 &&
    response.readUInt32BE(5) === 0;
}
