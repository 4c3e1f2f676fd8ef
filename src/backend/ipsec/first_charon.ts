/** The charon that a daemon begins with: it is there, and takes what the user chose. */

import { quoted } from "../../base/quoting.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { type Charon, type CharonOptions, giveUpCharon, reachCharon } from "./charon.ts";
import { type Vici, ViciError } from "./vici.ts";

/**
 * Waits for one that answers, for some seconds: one that is just ending, such as that of Go flannel,
 * still does or is in the way. Throws `BackendError` for what the user must mend.
 */
export async function firstCharon(
  options: CharonOptions,
  { espProposal, clock, stop }: {
    readonly espProposal: string;
    readonly clock: Clock;
    readonly stop: AbortSignal;
  },
): Promise<Charon> {
  const deadlineMs = clock.nowMs() + FIRST_CHARON_MS;
  for (;;) {
    try {
      return await usableCharon(options, espProposal, stop);
    } catch (error) {
      if (!(error instanceof ViciError)) throw error;
      if (clock.nowMs() > deadlineMs) throw new BackendError(error.message, { cause: error });
    }
    await sleep(clock, RETRY_MS, stop);
    stop.throwIfAborted();
  }
}

const FIRST_CHARON_MS = 10_000;
const RETRY_MS = 500;

async function usableCharon(
  options: CharonOptions,
  espProposal: string,
  stop: AbortSignal,
): Promise<Charon> {
  const charon = await reachCharon(options, stop);
  try {
    await checkProposal(charon.vici, espProposal);
  } catch (error) {
    giveUpCharon(charon);
    throw error;
  }
  options.log.info(`keys are exchanged by ${charon.description}`);
  return charon;
}

/**
 * Loads a connection that leads nowhere and takes it out again: only charon knows the names. Throws
 * `BackendError` if they make no sense to it.
 */
async function checkProposal(vici: Vici, espProposal: string): Promise<void> {
  const probe = {
    version: "2",
    local_addrs: ["127.0.0.1"],
    remote_addrs: ["127.0.0.2"],
    local: { auth: "psk" },
    remote: { auth: "psk" },
    children: { [PROBE]: { esp_proposals: [espProposal] } },
  };
  try {
    await vici.command("load-conn", { [PROBE]: probe });
  } catch (error) {
    if (!(error instanceof ViciError) || !error.isRefusal) throw error;
    throw new BackendError(
      `the ESPProposal ${quoted(espProposal, 200)} is invalid for charon; it must be ` +
        `algorithms in strongSwan's notation, such as aes128gcm16-ecp256 (${error.message})`,
      { cause: error },
    );
  }
  await vici.command("unload-conn", { name: PROBE });
}

const PROBE = "flannel-probe";
