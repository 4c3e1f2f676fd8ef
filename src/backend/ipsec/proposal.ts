/** Whether charon understands the algorithms that the user chose. */

import { BackendError } from "../target.ts";
import { type Vici, ViciError } from "./vici.ts";

/**
 * Loads a connection that leads nowhere and takes it out again: only charon knows the names. Throws
 * `BackendError` if they make no sense to it.
 */
export async function checkProposal(vici: Vici, espProposal: string): Promise<void> {
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
      `the ESPProposal ${JSON.stringify(espProposal)} makes no sense to charon; it must be ` +
        `algorithms in strongSwan's notation, such as aes128gcm16-ecp256 (${error.message})`,
      { cause: error },
    );
  }
  await vici.command("unload-conn", { name: PROBE });
}

const PROBE = "flannel-probe";
