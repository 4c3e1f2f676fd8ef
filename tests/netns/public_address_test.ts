/** Tunnels and an address of `--public-ip` on another interface, or not on this host. */

import { test } from "bun:test";
import {
  expectTunnelFollows,
  localAddress,
  type PublicAddressCase,
} from "../support/public_address.ts";

const VXLAN: PublicAddressCase = {
  type: "vxlan",
  end: (host) => localAddress(host, "flannel.1"),
};
const PROXY: PublicAddressCase = {
  type: "udp",
  env: { FLANNELD_UDP_DATA_PATH: "tun" },
  end: async (host) => /(\S+):8285/.exec(await host.sh("ss -Huln sport = :8285"))?.[1] ?? "",
};

test.each([["vxlan", VXLAN], ["udp's proxy", PROXY]])(
  "the tunnel of %s begins at the address as long as the host has it",
  (_name, one) => expectTunnelFollows(one),
  300_000,
);
