/** The two data paths of the udp backend. Their format on the wire is the same. */

import { ConfigError } from "../../config/config_error.ts";
import { loadModules } from "../../process/kernel_modules.ts";
import { quoted } from "../../base/quoting.ts";
import type { BackendHost } from "../../overlay/backend.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { FOU_MODULES, whyNoFou } from "./fou_support.ts";

/** An ipip device with FOU in the kernel, or a proxy behind a TUN device, as in Go flannel. */
export type DataPath = "fou" | "tun";

/** Selects one. The default is FOU if the kernel supports it. */
export const DATA_PATH_VARIABLE = "FLANNELD_UDP_DATA_PATH";

/**
 * Throws `ConfigError` for an unknown choice, `BackendError` for one the kernel does not support.
 */
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
    log.info(`data path: a TUN device and a proxy (${DATA_PATH_VARIABLE}=tun)`);
    return "tun";
  }
  const reason = await whyNoFou(kernel, load);
  if (reason === undefined) {
    log.info("data path: the kernel, ipip in UDP (FOU)");
    return "fou";
  }
  const advice = `load it with "modprobe -a ${FOU_MODULES.join(" ")}"`;
  if (wanted === "fou") {
    throw new BackendError(
      `${DATA_PATH_VARIABLE} is "fou", but this kernel has no FOU (${reason}); ${advice}`,
    );
  }
  log.warn(
    `this kernel has no FOU (${reason}); using a TUN device and a proxy, which is slower; ` +
      advice,
  );
  return "tun";
}
