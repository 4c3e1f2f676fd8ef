import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

export const HOST_GW: BackendDescriptor = {
  type: "host-gw",
  families: [4, 6],
  connectsNodes: true,
  encrypts: false,
  load: async () => (await import("./host_gw.ts")).default,
};
