/** WireGuard in the kernel, over generic netlink (linux/wireguard.h). */

import { errnoName } from "../../../ffi/errno.ts";
import * as k from "../../../ffi/linux.ts";
import type { Clock } from "../../base/clock.ts";
import { type GenericFamily, openFamily } from "../wire/generic_netlink.ts";
import { DUMP_TRIES } from "../wire/interrupted_dump.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { DeviceDecoder, MAX_SET_DEVICE_BYTES, messagesOf, writeDevice } from "./kernel_codec.ts";
import {
  type DeviceChange,
  type Fault,
  listenPortTaken,
  type WireguardDeviceState,
  type WireguardDriver,
} from "./wireguard_driver.ts";

/** The family of linux/wireguard.h, WG_GENL_NAME. */
export const WIREGUARD_FAMILY = { name: "wireguard", version: k.WG_GENL_VERSION } as const;

export class KernelDriver implements WireguardDriver {
  /** Tried again until it exists: the module may be loaded with the first device. */
  #family: GenericFamily | undefined;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  read(link: string): Promise<WireguardDeviceState | undefined> {
    return Promise.try(() => {
      const family = this.#family ??= openFamily(WIREGUARD_FAMILY);
      if (family === undefined) return undefined;
      for (let tries = 1;; tries++) {
        const decoder = new DeviceDecoder();
        const outcome = this.#dump(family, link, decoder);
        if (outcome === "complete") return decoder.result;
        if (outcome === "absent") return undefined;
        if (tries === DUMP_TRIES) {
          throw new KernelError({
            operation: `read WireGuard device ${link}`,
            errno: "EINTR",
            extack: `it changed during each of ${tries} attempts`,
          });
        }
      }
    });
  }

  async write(link: string, identity: number, change: DeviceChange): Promise<Fault | undefined> {
    const family = this.#family;
    if (family === undefined) return { errno: "ENODEV", reason: `there is no device ${link}` };
    for (const [i, message] of messagesOf(change).entries()) {
      if (i > 0) await this.#clock.yield();
      const refusal = family.command(
        k.WG_CMD_SET_DEVICE,
        (attributes) => writeDevice(attributes, identity, message),
        MAX_SET_DEVICE_BYTES,
      );
      if (refusal === undefined) continue;
      const code = errnoName(refusal.errno);
      const reason = refusal.extack ?? reasonOf(code, link, message);
      return { errno: code, ...(reason === undefined ? {} : { reason }) };
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    this.#family?.[Symbol.dispose]();
    this.#family = undefined;
  }

  #dump(
    family: GenericFamily,
    link: string,
    decoder: DeviceDecoder,
  ): "complete" | "interrupted" | "absent" {
    try {
      return family.dump(
        k.WG_CMD_GET_DEVICE,
        (attributes) => attributes.text(k.WGDEVICE_A_IFNAME, link),
        (message, attributesAt) => decoder.add(message, attributesAt),
      );
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      if (!ABSENT.has(error.errno)) {
        const operation = `read WireGuard device ${link}`;
        throw new KernelError({ operation, errno: error.errno, cause: error });
      }
      // The module may have been unloaded; the family gets another number when it is loaded again.
      if (error.errno === "ENOENT") this[Symbol.dispose]();
      return "absent";
    }
  }
}

/** No such device; a device of another type; no such family. */
const ABSENT: ReadonlySet<string> = new Set(["ENODEV", "EOPNOTSUPP", "ENOENT"]);

/** For these errors the kernel has no text. */
function reasonOf(code: string, link: string, { listenPort }: DeviceChange): string | undefined {
  return code === "EADDRINUSE" && listenPort !== undefined
    ? listenPortTaken(link, listenPort)
    : undefined;
}
