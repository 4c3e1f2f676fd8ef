/**
 * udp: each packet between nodes is the payload of a UDP datagram, unchanged.
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9 on
 * node B (192.168.0.2, subnet 10.5.2.0/24), with the entry that decides each hop, on kernels with
 * FOU (foo over UDP, linux/fou.h):
 *
 *   1. The workload's DEFAULT ROUTE sends it to A's bridge.
 *   2. On A the ROUTE `10.5.2.0/24 via 192.168.0.2 dev flannel0 onlink` sends it to an ipip device,
 *      with B's public address as next hop.
 *   3. The DEVICE flannel0 has no remote address: the next hop becomes the destination of the outer
 *      header, and the device's `local` address the source. Between the headers it inserts a UDP
 *      header, from port 8285 to port 8285.
 *   4. On B the FOU PORT 8285 removes the UDP header. The rest is an IPv4 packet in an IPv4 packet:
 *      B's DEVICE flannel0, whose `local` address is the destination, removes the outer header. The
 *      ROUTE for 10.5.2.0/24 of B's bridge delivers it.
 *
 * Without FOU, flannel0 is a TUN device with a ROUTE for the whole network, and a proxy performs
 * steps 2 to 4 (`proxy.ts`). The format on the wire is the same, so nodes with either data path,
 * and those of Go flannel, which only has the proxy, form one network.
 *
 * Node A itself sends from the ADDRESS 10.5.1.0/32 of flannel0.
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
import { udpMtuBytes } from "./udp_setup.ts";
import { UDP_DEVICE } from "./udp_descriptor.ts";

export const OPTIONS = { Port: integerOption({ default: 8285, min: 1, max: 65535 }) };

const udp: BackendModule = {
  checkConfig: ({ backend }, log) => void readOptions(backend.options, OPTIONS, log),
  options: OPTIONS,
  mtuBytes: (_config, external) => udpMtuBytes(external),
  async prepare(host) {
    const { Port: port } = readOptions(host.config.backend.options, OPTIONS, host.log);
    const network = ipv4Network(host.config);
    const publicAddresses = advertisedAddresses(host);
    const setup = { port, network, publicAddresses };
    const dataPath = await chooseDataPath(host);
    const previousPort = await previousFouPort(host);
    if (dataPath === "tun") {
      // The proxy's socket cannot use the port while the kernel's FOU port has it.
      if (previousPort !== undefined) await closePort(host, previousPort);
      const proxy = new UdpProxy({
        deviceName: UDP_DEVICE,
        port,
        network,
        clock: host.clock,
        log: host.log,
      });
      return tunBackend({ ...setup, proxy });
    }
    const local = host.external.sourceAddresses[4] as IpAddress;
    await removeOtherTunnel(host, { name: IPIP_DEVICE, local });
    return fouBackend({ ...setup, previousPort });
  },
};

export default udp;

async function closePort({ kernel }: BackendHost, port: number): Promise<void> {
  const [error] = await kernel.apply([{ op: "delete", resource: receivePort(port) }]);
  if (error !== undefined) throw error;
}

/** The port of the previous run, which may have been configured differently. */
async function previousFouPort({ kernel }: BackendHost): Promise<number | undefined> {
  const device = (await kernel.link(UDP_DEVICE))?.link;
  return device?.type === "ipip" ? device.fouPort : undefined;
}
