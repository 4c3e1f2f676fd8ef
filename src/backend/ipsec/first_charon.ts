/** The charon that a daemon starts with: it responds and accepts the configured algorithms. */

import { quoted } from "../../base/quoting.ts";
import { sleep } from "../../base/clock.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { type Charon, type CharonOptions, connectCharon, releaseCharon } from "./charon.ts";
import { CharonError, isRefusal } from "./charon_error.ts";
import type { Vici } from "./vici.ts";

/**
 * Retries for some seconds, because a charon that is just ending, such as Go flannel's, prevents
 * another one from starting. Throws `BackendError` if the operator has to act.
 */
export async function firstCharon(
  options: CharonOptions,
  { espProposal, stop }: { readonly espProposal: string; readonly stop: AbortSignal },
): Promise<Charon> {
  const { clock } = options;
  const deadlineMs = clock.nowMs() + FIRST_CHARON_MS;
  for (;;) {
    try {
      return await usableCharon(options, espProposal, stop);
    } catch (error) {
      if (!(error instanceof CharonError)) throw error;
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
  const charon = await connectCharon(options, stop);
  try {
    await checkProposal(charon.vici, espProposal);
  } catch (error) {
    releaseCharon(charon);
    throw error;
  }
  options.log.info(`using ${charon.description}`);
  return charon;
}

/**
 * Loads a dummy connection and unloads it, because only charon knows the names of its algorithms.
 * Throws `BackendError` if charon rejects them.
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
    if (!isRefusal(error)) throw error;
    throw new BackendError(
      `charon rejected the ESPProposal ${quoted(espProposal, 200)}; it must be algorithms in ` +
        `strongSwan's notation, such as aes128gcm16-ecp256 (${error.message})`,
      { cause: error },
    );
  }
  await vici.command("unload-conn", { name: PROBE });
}

const PROBE = "flannel-probe";
