import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

export const EXTENSION: BackendDescriptor = {
  type: "extension",
  families: [4, 6],
  connectsNodes: true,
  annotations: { hasSharedData: true },
  encrypts: false,
  lab: {
    /** host-gw as shell commands, the example of docs/backends/extension.md. */
    options(families) {
      const routes = families.map((family) =>
        family === 4 ? "$SUBNET via $PUBLIC_IP" : "$IPV6SUBNET via $PUBLIC_IPV6"
      );
      return {
        SubnetAddCommand: routes.map((route) => `ip route replace ${route}`).join(" && "),
        SubnetRemoveCommand: routes.map((route) => `ip route del ${route}`).join("; "),
      };
    },
  },
  load: async () => (await import("./extension.ts")).default,
};
