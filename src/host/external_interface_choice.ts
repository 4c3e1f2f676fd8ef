/** Chooses the external interface of this host, and checks that the overlay network can use it. */

import { familiesOf, type PerFamily, valuesOf } from "../addr/family.ts";
import type { GivenAddress } from "../addr/given_address.ts";
import type { IpAddress } from "../addr/ip.ts";
import { ConfigError } from "../config/config_error.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { HostInterface, OverlayDeviceTest } from "./host_interface.ts";
import { type InterfaceReader, readSelectionInput } from "./interface_reader.ts";
import { InterfaceSelectionError, selectInterface } from "./interface_selection.ts";
import { networkProblem } from "./network_overlap.ts";
import { publicAddressProblem, publicAddressWarnings } from "./public_address.ts";

export interface ChoiceOptions extends InterfaceReader {
  readonly families: NetworkConfig["families"];
  /** `--iface` */
  readonly interfaces: readonly string[];
  /** `--iface-regex` */
  readonly patterns: readonly string[];
  /** `--iface-can-reach` */
  readonly canReach: IpAddress | undefined;
  /** Addresses to advertise instead of the interface's own. */
  readonly given: PerFamily<GivenAddress>;
  readonly isOverlayDevice: OverlayDeviceTest;
}

export interface ExternalInterfaceChoice {
  readonly external: ExternalInterface;
  /** All interfaces of this host. */
  readonly interfaces: readonly HostInterface[];
  /** Why it was chosen, one line each. */
  readonly reasons: readonly string[];
  readonly warnings: readonly string[];
}

/** Throws `InterfaceSelectionError`, `ConfigError` or `KernelError`. */
export async function chooseExternalInterface(
  options: ChoiceOptions,
): Promise<ExternalInterfaceChoice> {
  const { families, given, isOverlayDevice } = options;
  const input = await readSelectionInput(options);
  const { interfaces } = input;
  const { external, reasons } = selectInterface(input, {
    ...options,
    families: familiesOf(families),
    networks: valuesOf(families).map(({ network }) => network),
  });
  const context = { interfaces, given, families, isOverlayDevice };
  const addressProblem = publicAddressProblem(external, context);
  const overlap = networkProblem(families, external);
  // The address of an overlay device is always in the network: then the device is the problem.
  const isOwnDevice = addressProblem !== undefined && isOverlayDevice(external.name);
  if (overlap !== undefined && !isOwnDevice) throw new ConfigError(overlap);
  if (addressProblem !== undefined) throw new InterfaceSelectionError(addressProblem);
  return { external, interfaces, reasons, warnings: publicAddressWarnings(external) };
}
