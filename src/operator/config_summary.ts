/** What follows from a network configuration, as lines for an operator. */

import { entriesOf } from "../addr/family.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { systemClock } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import type { InterfaceOptions } from "../cli/config_arguments.ts";
import { givenAddresses } from "../cli/daemon_options.ts";
import {
  assignableText,
  type NetworkConfig,
  overlapsAssignableRange,
  type SubnetAllocation,
} from "../config/network_config.ts";
import { chooseExternalInterface } from "../host/external_interface_choice.ts";
import { readInterfaces } from "../host/interface_reader.ts";
import { NetlinkKernel } from "../kernel/netlink_kernel.ts";
import type { BackendModule } from "../overlay/backend.ts";
import { claimedSubnets, type LeaseRecord } from "../subnet/etcd/lease_records.ts";
import { networkCapacity } from "./network_capacity.ts";
import { isReservation } from "./stored_lease.ts";

/** How many subnets there are, a line for each family. */
export function capacityLines(
  config: NetworkConfig,
  allocation: SubnetAllocation,
  leases: readonly LeaseRecord[],
): string[] {
  return entriesOf(config.families).map(([family, network]) => {
    if (allocation === "kubernetes") {
      return `IPv${family}: Kubernetes assigns the subnets, pod CIDRs inside ${network.network}`;
    }
    const claiming = leases.flatMap((record) => {
      const subnet = claimedSubnets(record, config.families)[family];
      return subnet === undefined ? [] : [{ subnet, isReserved: isReservation(record) }];
    });
    const { total, taken } = networkCapacity(network, claiming.map(({ subnet }) => subnet));
    const inside = claiming.filter(({ subnet }) => overlapsAssignableRange(network, subnet));
    const reserved = inside.filter(({ isReserved }) => isReserved).length;
    const leased = inside.length - reserved;
    const outside = claiming.length - inside.length;
    return `IPv${family}: ${total} subnets, ${assignableText(network)}: ${taken} taken ` +
      `(${leased} leased, ${reserved} reserved), ${total - taken} free` +
      (outside === 0 ? "" : `; ${outside} more outside of them`);
  });
}

/** The MTU of workloads on this host, and where it comes from. */
export async function mtuLine(
  config: NetworkConfig,
  module: BackendModule,
  options: InterfaceOptions,
): Promise<string> {
  const kernel = new NetlinkKernel({ clock: systemClock });
  try {
    const { external } = await chooseExternalInterface({
      families: config.families,
      interfaces: options.interfaces,
      patterns: options.interfacePatterns,
      canReach: options.interfaceCanReach,
      given: givenAddresses(options),
      kernel,
      readInterfaces: () => readInterfaces(systemClock),
      isOverlayDevice: (name) => BACKENDS.isDeviceName(name),
    });
    const mtuBytes = module.mtuBytes(config, external);
    const overhead = external.mtuBytes - mtuBytes;
    const less = overhead === 0 ? "" : `, less ${overhead} of ${config.backend.type}`;
    return `MTU: ${mtuBytes} bytes for workloads: ${external.mtuBytes} of ${external.name}${less}`;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return `MTU: unknown on this host: ${error.message}`;
  } finally {
    kernel[Symbol.dispose]();
  }
}
