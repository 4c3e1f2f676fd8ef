import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

/** An ipip device, or a TUN device on kernels without FOU. */
export const UDP_DEVICE = "flannel0";

export const UDP: BackendDescriptor = {
  type: "udp",
  isUnnamedInLeases: true,
  families: [4],
  connectsNodes: true,
  encrypts: false,
  isDeviceName: (name) => name === UDP_DEVICE,
  lab: { oneOf: [{ features: ["fou"] }, { features: ["tun"] }] },
  load: async () => (await import("./udp.ts")).default,
};
