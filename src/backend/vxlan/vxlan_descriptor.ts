import type { Family } from "../../addr/ip.ts";
import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

/** The device for one address family. */
export function vxlanDeviceName(vni: number, family: Family): string {
  return family === 4 ? `flannel.${vni}` : `flannel-v6.${vni}`;
}

export const VXLAN: BackendDescriptor = {
  type: "vxlan",
  families: [4, 6],
  connectsNodes: true,
  annotations: { onlyWithData: [4, 6] },
  encrypts: false,
  isDeviceName: (name) => /^flannel(-v6)?\.\d+$/.test(name),
  lab: { oneOf: [{ features: ["vxlan"] }] },
  load: async () => (await import("./vxlan.ts")).default,
};
