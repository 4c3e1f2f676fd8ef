import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

export const VXLAN: BackendDescriptor = {
  type: "vxlan",
  families: [4, 6],
  connectsNodes: true,
  encrypts: false,
  deviceNames: /^flannel(-v6)?\.\d+$/,
  lab: { oneOf: [{ features: ["vxlan"] }] },
  load: async () => (await import("./vxlan.ts")).default,
};
