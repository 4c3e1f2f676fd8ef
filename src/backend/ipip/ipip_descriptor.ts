import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

export const IPIP_DEVICE = "flannel.ipip";

export const IPIP: BackendDescriptor = {
  type: "ipip",
  families: [4],
  connectsNodes: true,
  encrypts: false,
  isDeviceName: (name) => name === IPIP_DEVICE,
  lab: { oneOf: [{ features: ["ipip"] }] },
  load: async () => (await import("./ipip.ts")).default,
};
