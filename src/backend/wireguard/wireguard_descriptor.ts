import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";
import { WIREGUARD_PROGRAMS } from "../../process/program_lookup.ts";

/** The device for IPv4 or for both families, and the one for IPv6 in the mode "separate". */
export const WIREGUARD_DEVICES = ["flannel-wg", "flannel-wg-v6"] as const;

export const WIREGUARD: BackendDescriptor = {
  type: "wireguard",
  families: [4, 6],
  connectsNodes: true,
  annotations: { onlyWithData: [6] },
  encrypts: true,
  isDeviceName: (name) => WIREGUARD_DEVICES.some((one) => one === name),
  soleDevice: WIREGUARD_DEVICES[0], // The daemon that has it may also have the other one.
  lab: {
    oneOf: [
      { features: ["wireguard"] },
      { features: ["tun"], programs: WIREGUARD_PROGRAMS },
    ],
  },
  load: async () => (await import("./wireguard.ts")).default,
};
