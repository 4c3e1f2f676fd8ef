/** From the network configuration to a lease: interface, backend, subnet. */

import { dirname, resolve } from "node:path";
import type { GivenAddress } from "../addr/given_address.ts";
import { familiesOf, type PerFamily, valuesOf } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { type DaemonOptions, givenAddresses } from "../cli/daemon_options.ts";
import { ConfigError } from "../config/config_error.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import { FirewallError } from "../firewall/firewall.ts";
import { ExcludedAddresses } from "../host/excluded_addresses.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import {
  chooseExternalInterface,
  type ExternalInterfaceChoice,
} from "../host/external_interface_choice.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import type { Backend } from "../overlay/backend.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import type { Lease } from "../subnet/lease.ts";
import type { LeaseStore, OwnLease } from "../subnet/lease_store.ts";
import type { DaemonPorts } from "./daemon_ports.ts";
import type { Readiness } from "./readiness.ts";

export interface JoinContext {
  readonly options: DaemonOptions;
  readonly config: NetworkConfig;
  readonly descriptor: BackendDescriptor;
  readonly kernel: Kernel;
  readonly store: LeaseStore;
  /** URLs of the store's servers. */
  readonly storeEndpoints: readonly string[];
  readonly ports: DaemonPorts;
  readonly readiness: Readiness;
  readonly log: Log;
}

/** This node, with a lease. */
export interface JoinedNode {
  readonly external: ExternalInterface;
  /** Why it was chosen, one line each. */
  readonly reasons: readonly string[];
  /** Addresses that it advertises instead of the interface's own. */
  readonly given: PerFamily<GivenAddress>;
  readonly backend: Backend;
  readonly own: OwnLease;
  readonly excluded: ExcludedAddresses;
  /** Networks and subnets of an earlier run, by which its rules are recognized. */
  readonly previousNetworks: readonly Prefix[];
}

/**
 * Changes nothing on this host except what the backend needs for the lease, such as its device.
 * Throws `OperatorError`, or the reason of `stop`.
 */
export async function joinNetwork(context: JoinContext, stop: AbortSignal): Promise<JoinedNode> {
  const { options, config, kernel, store, storeEndpoints, ports, readiness, log } = context;
  if (!config.enableNftables) {
    const problem = ports.bridgeNetfilterProblem(config.families);
    if (problem !== undefined) throw new FirewallError(problem);
  }
  readiness.step("choosing the external interface");
  const given = await readGivenAddresses(context, stop);
  const { external, interfaces, reasons } = await chooseInterface(context, given);
  await warnAboutForwarding(context);
  const previous = ports.subnetFile.read(options.subnetFile, (message) => log.warn(message));
  readiness.step(`looking for this node's lease in ${store.description}`);
  const { publicAddresses } = external;
  const previousLease = await store.previousLease({ config, publicAddresses }, stop);
  const dependencies = {
    kernel,
    endpoints: storeEndpoints,
    isOverlayDevice,
    clock: ports.clock,
  };
  const excluded = new ExcludedAddresses({
    families: config.families,
    read: () => ports.readHostDependencies(dependencies),
    ownSubnets: [...valuesOf(previous.subnets), ...valuesOf(previousLease?.subnets ?? {})],
    isOverlayDevice,
  });
  await excluded.read(external);
  for (const warning of excluded.warnings(interfaces)) log.warn(warning);
  const backend = await prepareBackend(context, { external, previousLease, stop });
  if (backend.routesNetwork) {
    const problem = excluded.routeProblem(interfaces, await kernel.dump(["route"]));
    if (problem !== undefined) throw new ConfigError(problem);
  }
  const { attributes, identity } = backend;
  const request = {
    config,
    attributes,
    previousSubnets: previous.subnets,
    excluded: excluded.addresses,
    ...(identity && { identity }),
  };
  readiness.step(`acquiring a subnet in ${store.description}`);
  const own = await store.acquire(request, stop);
  excluded.addOwnSubnets(valuesOf(own.lease.subnets), external);
  const previousNetworks = [...valuesOf(previous.networks), ...valuesOf(previous.subnets)];
  return { external, reasons, given, backend, own, excluded, previousNetworks };
}

async function prepareBackend(
  { options, config, descriptor, kernel, ports, readiness, log }: JoinContext,
  { external, previousLease, stop }: {
    readonly external: ExternalInterface;
    readonly previousLease: Lease | undefined;
    readonly stop: AbortSignal;
  },
): Promise<Backend> {
  const { type } = descriptor;
  readiness.step(`preparing the ${type} backend`);
  const { wireguardSupport, openXfrmStates, random, env, clock } = ports;
  const module = await descriptor.load();
  return await module.prepare({
    config,
    external,
    kernel,
    wireguardSupport,
    openXfrmStates,
    previousLease,
    random,
    env,
    runDirectory: dirname(resolve(options.subnetFile)),
    stop,
    clock,
    log: log.child({ component: type }),
  });
}

/** What the store prescribes takes precedence over flags, as in Go flannel. */
async function readGivenAddresses(
  { options, config, store }: JoinContext,
  stop: AbortSignal,
): Promise<PerFamily<GivenAddress>> {
  return { ...givenAddresses(options), ...await store.prescribedAddresses(config, stop) };
}

async function chooseInterface(
  { options, config, kernel, ports, log }: JoinContext,
  given: PerFamily<GivenAddress>,
): Promise<ExternalInterfaceChoice> {
  const choice = await chooseExternalInterface({
    families: config.families,
    interfaces: options.interfaces,
    patterns: options.interfacePatterns,
    canReach: options.interfaceCanReach,
    given,
    kernel,
    readInterfaces: ports.readInterfaces,
    isOverlayDevice,
  });
  for (const reason of choice.reasons) log.info(reason);
  for (const warning of choice.warnings) log.warn(warning);
  return choice;
}

function isOverlayDevice(name: string): boolean {
  return BACKENDS.isDeviceName(name);
}

const FORWARDING: Readonly<Record<Family, string>> = {
  4: "net/ipv4/ip_forward",
  6: "net/ipv6/conf/all/forwarding",
};

/** The setting belongs to the administrator, so it is not changed. */
async function warnAboutForwarding({ config, ports, log }: JoinContext): Promise<void> {
  for (const family of familiesOf(config.families)) {
    const path = FORWARDING[family];
    if (await ports.readSysctl(path).catch(() => undefined) !== "0") continue;
    log.warn(
      `this host does not forward IPv${family} packets, so none will reach a workload; ` +
        `run "sysctl -w ${path.replaceAll("/", ".")}=1"`,
    );
  }
}
