/** The CA of a datastore, of which a node knows only the fingerprint. */

import { X509Certificate } from "node:crypto";
import { connect, type DetailedPeerCertificate } from "node:tls";
import { urlHost } from "../addr/ip.ts";
import { errorMessage } from "../base/operator_error.ts";
import { caFingerprint } from "./ca_fingerprint.ts";
import { JoinError } from "./join_error.ts";
import type { JoinTarget } from "./join_token.ts";

const TIMEOUT_MS = 5_000;

/**
 * The CA's certificate in PEM, as the server presents it. Nothing is sent on this connection: it
 * only shows which CA the server claims to have, and whether that is the one of the token. Whether
 * the CA has signed the server's certificate is verified by each connection that follows. Throws
 * `JoinError`, or the signal's reason.
 */
export async function pinnedCa(
  { token, host, port }: JoinTarget,
  signal: AbortSignal,
): Promise<string> {
  const where = `${urlHost(host)}:${port}`;
  const chain = await presentedChain({ host, port }, signal).catch((cause: unknown) => {
    signal.throwIfAborted();
    throw new JoinError(connectionProblem(cause, where), { mayPass: true, cause });
  });
  const ca = chain.find((one) => fingerprintOf(one) === token.fingerprint);
  if (ca !== undefined) return ca.toString();
  throw new JoinError(
    `the server at ${where} has another CA than the token: it is another datastore, or this one ` +
      "was set up again; take the command that flanneld datastore token prints there",
    { mayPass: true },
  );
}

function fingerprintOf(certificate: X509Certificate): string | undefined {
  try {
    return caFingerprint(certificate);
  } catch {
    return undefined; // a key of an unknown kind
  }
}

async function presentedChain(
  { host, port }: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<X509Certificate[]> {
  const { promise, resolve, reject } = Promise.withResolvers<X509Certificate[]>();
  // Verified by the fingerprint instead.
  const socket = connect({ host, port, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
  const ends = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const onAbort = () => reject(ends.reason);
  ends.addEventListener("abort", onAbort);
  socket.once("secureConnect", () => {
    try {
      resolve(chainOf(socket.getPeerCertificate(true)));
    } catch (error) {
      reject(error);
    }
  });
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("connection closed")));
  try {
    return await promise;
  } finally {
    ends.removeEventListener("abort", onAbort);
    socket.destroy();
  }
}

/** More than a chain of certificates has. */
const MAX_CHAIN = 8;

function chainOf(leaf: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next: DetailedPeerCertificate | undefined = leaf;
  while (next?.raw !== undefined && chain.length < MAX_CHAIN) {
    chain.push(new X509Certificate(next.raw));
    const issuer: DetailedPeerCertificate | undefined = next.issuerCertificate;
    next = issuer === next ? undefined : issuer;
  }
  return chain;
}

function connectionProblem(cause: unknown, where: string): string {
  const { code = "", name = "" } = cause as { code?: string; name?: string };
  const text = errorMessage(cause);
  if (name === "TimeoutError") {
    return `no connection to ${where} in time: is that host up, and does a firewall drop packets ` +
      "to that port?";
  }
  if (code === "ECONNREFUSED") {
    return `connection to ${where} refused: does the datastore run there, and is there a route ` +
      "to that host?";
  }
  if (/WRONG_VERSION|before secure TLS|ECONNRESET|connection closed/.test(`${code} ${text}`)) {
    return `the server at ${where} does not speak TLS: is it the datastore, and was it started ` +
      "without --insecure?";
  }
  return `cannot connect to ${where}: ${text}`;
}
