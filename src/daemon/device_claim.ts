/**
 * That no two daemons have one device.
 *
 * A WireGuard device has one key and one list of peers. Two daemons in one network namespace would
 * each put their own there, over and over. So a daemon holds a name for its device as long as it
 * runs, `@flanneld/flannel-wg`: an abstract UNIX socket (unix(7)). Such names belong to the network
 * namespace, as devices do, whatever file systems the daemons see, and the kernel takes them back
 * when the process ends, however it does.
 */

import { unixListener, type UnixPeer } from "../../ffi/unix_peer.ts";
import { BackendError } from "../overlay/backend_error.ts";
import type { Log } from "../log/log.ts";
import { type Clock, sleep } from "../base/clock.ts";

export interface DeviceClaimOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly stop: AbortSignal;
}

/** At a restart the former daemon may be about to end; it does within 5 s. */
const HANDOVER_MS = 10_000;
const STEP_MS = 250;

/**
 * Takes the name for a device, until disposed; waits for a while for another daemon to end. Throws
 * `BackendError` if it does not, or the reason of `stop`. Where the name cannot be had for a reason
 * that says nothing about another daemon, that is logged, and nothing is held.
 */
export async function claimDevice(
  device: string,
  { log, clock, stop }: DeviceClaimOptions,
): Promise<Disposable> {
  const name = `flanneld/${device}`;
  let isWaiting = false;
  for (const deadlineMs = clock.nowMs() + HANDOVER_MS;;) {
    const held = hold(name);
    if (!(held instanceof Error)) return held;
    const holder = unixListener(`@${name}`);
    const doubt = whyNoDaemon(held, holder);
    if (doubt !== undefined) {
      log.warn(`cannot tell whether another flanneld has the device ${device}: ${doubt}`);
      return NOTHING;
    }
    const other = `another flanneld on this host${holder?.pid ? ` (process ${holder.pid})` : ""}`;
    if (clock.nowMs() >= deadlineMs) {
      throw new BackendError(
        `${other} has the device ${device}, and there is one in each network namespace: end that ` +
          "one, or give one of the two another backend",
      );
    }
    if (!isWaiting) log.info(`${other} has the device ${device}; waiting for it to end`);
    isWaiting = true;
    await sleep(clock, STEP_MS, stop);
    stop.throwIfAborted();
  }
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

/** Why the name is not there to be had although no daemon has it, for all that is known. */
function whyNoDaemon(failure: Failure, holder: UnixPeer | undefined): string | undefined {
  if (failure.code !== "EADDRINUSE") return failure.message.replaceAll("\0", "@");
  // Whoever may open a socket can take a name; none but the administrator keeps the daemon out.
  const self = process.geteuid?.() ?? 0;
  return holder !== undefined && holder.uid !== self
    ? `process ${holder.pid} of user ${holder.uid}, not ${self}, has taken the name for it`
    : undefined;
}
