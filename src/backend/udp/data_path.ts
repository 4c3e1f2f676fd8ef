/** The two ways in which the udp backend moves packets. They speak the same format on the wire. */

import { ConfigError } from "../../config/config_error.ts";
import { loadModules } from "../../process/kernel_modules.ts";
import { quoted } from "../../base/quoting.ts";
import type { BackendHost } from "../../overlay/backend.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { FOU_MODULES, whyNoFou } from "./fou_support.ts";

/** In the kernel, by an ipip device with FOU; or by a proxy behind a TUN device, as Go flannel does. */
export type DataPath = "fou" | "tun";

/** Names the one to take. By default it is FOU where the kernel has it. */
export const DATA_PATH_VARIABLE = "FLANNELD_UDP_DATA_PATH";

/** Throws `ConfigError` for an unknown choice, `BackendError` for one that the kernel cannot do. */
export async function chooseDataPath(
  { env, kernel, log, stop }: BackendHost,
  load = (modules: readonly string[]) => loadModules(modules, { signal: stop }),
): Promise<DataPath> {
  const wanted = (env[DATA_PATH_VARIABLE] ?? "").toLowerCase();
  if (wanted !== "" && wanted !== "fou" && wanted !== "tun") {
    throw new ConfigError(
      `${DATA_PATH_VARIABLE} is ${quoted(wanted)}; it must be "fou" (packets stay in the ` +
        'kernel) or "tun" (a proxy moves them)',
    );
  }
  if (wanted === "tun") {
    log.info(`packets go through a TUN device and a proxy, as ${DATA_PATH_VARIABLE} says`);
    return "tun";
  }
  const reason = await whyNoFou(kernel, load);
  if (reason === undefined) {
    log.info("packets go through the kernel: ipip in UDP (FOU)");
    return "fou";
  }
  const advice = `load it with "modprobe -a ${FOU_MODULES.join(" ")}"`;
  if (wanted === "fou") {
    throw new BackendError(
      `${DATA_PATH_VARIABLE} asks for FOU, which this kernel does not have (${reason}); ${advice}`,
    );
  }
  log.warn(
    `this kernel has no FOU (${reason}), so each packet goes through a TUN device and a proxy, ` +
      `which is slower; ${advice}`,
  );
  return "tun";
}
