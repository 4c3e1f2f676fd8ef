/**
 * Detects whether the kernel can carry IPv4 packets in UDP: ipip devices with FOU (linux/fou.h).
 */

import type { IpAddress } from "../../addr/ip.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Step } from "../../state/step.ts";
import { ipipDevice } from "../ipip/ipip_tunnel.ts";

/**
 * Why the kernel cannot, after an attempt to `load` the modules; `undefined` if it can. A device is
 * created and removed to find out. FOU's receive ports are part of the same module.
 */
export async function whyNoFou(
  kernel: Kernel,
  load: (modules: readonly string[]) => Promise<boolean>,
): Promise<string | undefined> {
  const reason = await tryTunnel(kernel);
  if (reason === undefined) return undefined;
  return await load(FOU_MODULES) ? await tryTunnel(kernel) : reason;
}

export const FOU_MODULES: readonly string[] = ["ipip", "fou"];

/** Its address is one that no real tunnel has: two tunnels cannot have the same local address. */
const TRIAL = ipipDevice({
  name: "flannel-trial",
  mtuBytes: 1400,
  local: "127.0.0.1" as IpAddress,
  fouPort: 8285,
});

async function tryTunnel(kernel: Kernel): Promise<string | undefined> {
  const device = { ...TRIAL, up: false };
  const remove: Step = { op: "delete", resource: device };
  // First remove the device of a trial that was interrupted.
  const [, error] = await kernel.apply([remove, { op: "set", resource: device }, remove]);
  return error?.reason;
}
