import type { BackendDescriptor } from "../../overlay/backend_descriptor.ts";

export const TENCENT_VPC: BackendDescriptor = {
  type: "tencent-vpc",
  isUnnamedInLeases: true,
  families: [4],
  connectsNodes: true,
  encrypts: false,
  lab: { unsupported: "it writes routes of a network in Tencent Cloud and works only there" },
  load: async () => (await import("./tencent_vpc.ts")).default,
};
