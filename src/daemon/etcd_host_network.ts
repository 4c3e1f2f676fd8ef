/** The etcd client's view of this host's network, read from the kernel. */

import type { IpAddress } from "../addr/ip.ts";
import type { HostNetwork } from "../etcd/client/host_network.ts";
import type { HostInterface } from "../host/host_interface.ts";
import type { Kernel } from "../kernel/kernel.ts";

export interface EtcdHostNetworkOptions {
  readonly kernel: Pick<Kernel, "routeTo">;
  readonly readInterfaces: () => Promise<readonly HostInterface[]>;
}

export function etcdHostNetwork({ kernel, readInterfaces }: EtcdHostNetworkOptions): HostNetwork {
  return {
    addresses: async () => {
      const interfaces = await readInterfaces();
      return new Set<IpAddress>(
        interfaces.flatMap(({ addresses }) => addresses.map(({ address }) => address)),
      );
    },
    egressRoute: async (address) => {
      const { link, gateway, source } = await kernel.routeTo(address);
      if (link === undefined) return undefined;
      return { link, ...(gateway && { gateway }), ...(source && { source }) };
    },
  };
}
