/**
 * Makes sure that no two daemons use one device.
 *
 * A WireGuard device has one key and one list of peers, which two daemons in one network namespace
 * would overwrite in turn. So a daemon holds a name for its device as long as it runs,
 * `@flanneld/flannel-wg`: an abstract UNIX socket (unix(7)). Like devices, such names belong to
 * the network namespace, whatever file systems the daemons see, and the kernel releases them when
 * the process ends, however it does.
 */

import { unixListener, type UnixPeer } from "../../ffi/unix_peer.ts";
import { type ClaimAttempt, type ClaimOptions, waitForClaim } from "../overlay/claim.ts";

/**
 * Holds the name of a device until disposed. Waits for another daemon that holds it to end; throws
 * `BackendError` if it does not, or the reason of `stop`. If the name is unavailable for a reason
 * that does not indicate another daemon, logs that and holds nothing.
 */
export async function claimDevice(
  device: string,
  options: ClaimOptions,
): Promise<Disposable> {
  return await waitForClaim(() => tryClaim(device, options), options);
}

function tryClaim(device: string, { log }: ClaimOptions): ClaimAttempt {
  const name = `flanneld/${device}`;
  const held = hold(name);
  if (!(held instanceof Error)) return { kind: "claimed", claim: held };
  const holder = unixListener(`@${name}`);
  const doubt = otherReason(held, holder);
  if (doubt !== undefined) {
    log.warn(`cannot determine whether another flanneld uses the device ${device}: ${doubt}`);
    return { kind: "claimed", claim: NOTHING };
  }
  const pid = holder?.pid ? ` (process ${holder.pid})` : "";
  const text = `another flanneld on this host${pid} uses the device ${device}`;
  return {
    kind: "taken",
    holder: text,
    refusal: `${text}, of which a network namespace has one: stop that flanneld, or give one of ` +
      "the two another backend",
  };
}

const NOTHING: Disposable = { [Symbol.dispose]: () => undefined };

type Failure = Error & { readonly code?: string };

function hold(name: string): Disposable | Failure {
  try {
    const socket = { open: (one: Bun.Socket) => void one.end(), data: () => undefined };
    const listener = Bun.listen({ unix: `\0${name}`, socket });
    listener.unref();
    return { [Symbol.dispose]: () => listener.stop(true) };
  } catch (error) {
    return error as Failure;
  }
}

/** Why the name is unavailable although, as far as is known, no daemon holds it. */
function otherReason(failure: Failure, holder: UnixPeer | undefined): string | undefined {
  if (failure.code !== "EADDRINUSE") return failure.message.replaceAll("\0", "@");
  // Any user who can open a socket can take a name; only the administrator's keeps the daemon out.
  const self = process.geteuid?.() ?? 0;
  return holder !== undefined && holder.uid !== self
    ? `process ${holder.pid} of user ${holder.uid}, not ${self}, holds its name`
    : undefined;
}
