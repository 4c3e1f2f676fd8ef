import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

/** The minimum length of the option `PSK`. */
export const PSK_MIN_BYTES = 96;

export const IPSEC: BackendDescriptor = {
  type: "ipsec",
  families: [4],
  connectsNodes: true,
  encrypts: true,
  requiredSecret: "PSK",
  lab: {
    oneOf: [{ features: ["esp4"], programs: ["charon"] }],
    // Hexadecimal digits: two bytes for each random one.
    options: () => ({
      PSK: crypto.getRandomValues(new Uint8Array(PSK_MIN_BYTES / 2)).toHex(),
    }),
  },
  load: async () => (await import("./ipsec.ts")).default,
};
