/**
 * udp: each packet between nodes travels as it is, as the payload of a UDP datagram.
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9 on
 * node B (192.168.0.2, subnet 10.5.2.0/24), by the entry that decides each hop, where the kernel has
 * FOU (foo over UDP, linux/fou.h):
 *
 *   1. It leaves the workload by its default route and reaches A's bridge.
 *   2. On A the ROUTE `10.5.2.0/24 via 192.168.0.2 dev flannel0 onlink` hands it to an ipip device,
 *      with B's public address as next hop.
 *   3. The device has no remote end of its own: the next hop becomes the destination of the outer
 *      header, the device's `local` address its source. Its encapsulation puts a UDP header in
 *      between, from port 8285 to port 8285.
 *   4. On B the FOU PORT 8285 takes the UDP header off, and what is left is an IPv4 packet in an IPv4
 *      packet: B's flannel0 takes the outer header off, for its `local` is the destination. B's own
 *      route for 10.5.2.0/24, the bridge's, delivers.
 *
 * Where it has not, flannel0 is a TUN device with a ROUTE for the whole network, and a proxy does
 * steps 2 to 4 (`proxy.ts`). On the wire there is no difference, so nodes with either data path,
 * and those of Go flannel, which has the proxy only, make one network.
 *
 * A packet of node A itself takes the ADDRESS 10.5.1.0/32 of flannel0 as its source.
 */

import type { IpAddress } from "../../addr/ip.ts";
import { integerOption, readOptions } from "../../config/option_schema.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { BackendHost, BackendModule } from "../../overlay/backend.ts";
import { IPIP_DEVICE } from "../ipip/ipip_descriptor.ts";
import { receivePort, removeOtherTunnel } from "../ipip/ipip_tunnel.ts";
import { ipv4Network } from "../../overlay/ipv4_network.ts";
import { chooseDataPath } from "./data_path.ts";
import { fouBackend } from "./fou_backend.ts";
import { UdpProxy } from "./proxy.ts";
import { tunBackend } from "./tun_backend.ts";
import { UDP_DEVICE } from "./udp_descriptor.ts";

export const OPTIONS = { Port: integerOption({ default: 8285, min: 1, max: 65535 }) };

const udp: BackendModule = {
  checkConfig: ({ backend }, log) => void readOptions(backend.options, OPTIONS, log),
  async prepare(host) {
    const { Port: port } = readOptions(host.config.backend.options, OPTIONS, host.log);
    const network = ipv4Network(host.config);
    const publicAddresses = advertisedAddresses(host);
    const setup = { port, network, publicAddresses };
    const dataPath = await chooseDataPath(host);
    const formerPort = await formerFouPort(host);
    if (dataPath === "tun") {
      // The proxy's socket cannot have a port that is still the kernel's.
      if (formerPort !== undefined) await closePort(host, formerPort);
      const proxy = new UdpProxy({
        deviceName: UDP_DEVICE,
        port,
        network,
        log: host.log,
      });
      return tunBackend({ ...setup, proxy });
    }
    const local = host.external.sourceAddresses[4] as IpAddress;
    await removeOtherTunnel(host, { name: IPIP_DEVICE, local });
    return fouBackend({ ...setup, formerPort });
  },
};

export default udp;

async function closePort({ kernel }: BackendHost, port: number): Promise<void> {
  const [error] = await kernel.apply([{ op: "delete", resource: receivePort(port) }]);
  if (error !== undefined) throw error;
}

/** The port of a former run, where another one may have been configured. */
async function formerFouPort({ kernel }: BackendHost): Promise<number | undefined> {
  const device = (await kernel.link(UDP_DEVICE))?.link;
  return device?.type === "ipip" ? device.fouPort : undefined;
}
