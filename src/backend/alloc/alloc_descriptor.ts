import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

export const ALLOC: BackendDescriptor = {
  type: "alloc",
  isUnnamedInLeases: true,
  families: [4, 6],
  connectsNodes: false,
  annotations: { onlyWithData: [6] },
  encrypts: false,
  load: async () => (await import("./alloc.ts")).default,
};
