/** Whether the kernel can carry IPv4 packets in UDP by itself: ipip devices with FOU (linux/fou.h). */

import type { IpAddress } from "../../addr/ip.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Step } from "../../state/step.ts";
import { ipipDevice } from "../ipip/ipip_tunnel.ts";

/**
 * `undefined` if it can, else the reason, after `load` has been asked for the modules. It is tried out
 * with a device that is gone afterwards: FOU's receive ports come with the same module.
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

/** Its address is never that of a tunnel that carries something: two from one address cannot be. */
const TRIAL = ipipDevice({
  name: "flannel-trial",
  mtuBytes: 1400,
  local: "127.0.0.1" as IpAddress,
  fouPort: 8285,
});

async function tryTunnel(kernel: Kernel): Promise<string | undefined> {
  const device = { ...TRIAL, up: false };
  const remove: Step = { op: "delete", resource: device };
  // First what a trial that was cut short has left.
  const [, error] = await kernel.apply([remove, { op: "set", resource: device }, remove]);
  return error?.reason;
}
