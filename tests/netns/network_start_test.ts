/** The interface changes between its selection and the first entries, while the node waits. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExternalInterface } from "../../src/host/external_interface.ts";
import { BACKENDS } from "../../src/backend/backend_registry.ts";
import { parseCommandLine } from "../../src/cli/command_line.ts";
import type { DaemonOptions } from "../../src/cli/daemon_options.ts";
import { ExcludedAddresses } from "../../src/host/excluded_addresses.ts";
import { Readiness } from "../../src/daemon/readiness.ts";
import { systemClock } from "../../src/base/clock.ts";
import { createNotifier } from "../../src/health/sd_notify.ts";
import { Network } from "../../src/daemon/network.ts";
import { NetworkError } from "../../src/daemon/network_error.ts";
import { systemPorts } from "../../src/daemon/system_ports.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { runProgram } from "../../src/process/run_program.ts";
import type { Lease } from "../../src/subnet/lease.ts";
import type { LeaseStore, OwnLease } from "../../src/subnet/lease_store.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { backendHost, config, external, lease } from "../support/sample_network.ts";

const isOverlayDevice = (name: string) => BACKENDS.isDeviceName(name);

const DEVICE = "fl-under";
const directory = mkdtempSync(join(tmpdir(), "network-start-test-"));
const subnetFile = join(directory, "subnet.env");

async function sh(script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await runProgram("sh", ["-ec", script]);
  if (exitCode !== 0) throw new Error(stderr);
  return stdout;
}

const addDevice = () =>
  sh(`
ip link add ${DEVICE} type bridge
ip link set ${DEVICE} up
ip addr add 192.168.0.1/24 dev ${DEVICE}
ip addr add fd00::1/64 dev ${DEVICE} nodad`);
beforeAll(addDevice);
beforeEach(() => rmSync(subnetFile, { force: true }));
afterAll(async () => {
  await sh(`ip link del ${DEVICE}`);
  rmSync(directory, { recursive: true });
});

/** Its state when it was selected. */
const CHOSEN: ExternalInterface = { ...external([4, 6]), name: DEVICE };

/**
 * Starts a vxlan node of both families whose interface has had `change` since its selection, then
 * stops it. Returns its log, and the error if it did not start.
 */
async function startAfter(change: string): Promise<{ said: string[]; error?: unknown }> {
  const network = config("vxlan", [4, 6]);
  using kernel = new NetlinkKernel({ clock: systemClock });
  const host = backendHost(kernel, network, { external: CHOSEN });
  const backend = await (await BACKENDS.forNetwork(network).load()).prepare(host);
  await sh(change);
  const { log, records } = collectingLog();
  const starting = Network.start({
    options: optionsOf([`--subnet-file=${subnetFile}`]),
    config: network,
    backend,
    external: CHOSEN,
    given: {},
    excluded: new ExcludedAddresses({
      families: network.families,
      read: () => Promise.resolve({ gateways: [], resolvers: [], endpoints: [] }),
      ownSubnets: [],
      isOverlayDevice,
    }),
    own: ownLease({ ...lease(1, "vxlan", [4, 6]), attributes: backend.attributes }),
    kernel,
    store: {} as LeaseStore, // It is not used before the node has started.
    ports: systemPorts,
    readiness: new Readiness(createNotifier({ log, clock: systemClock, env: {} })),
    previousNetworks: [],
    log,
  }, new AbortController().signal);
  const error = await starting.then((node) => node[Symbol.asyncDispose](), (reason) => reason);
  const said = records.filter(({ level }) => level !== "debug" && level !== "trace");
  return { error, said: said.map(({ msg }) => msg) };
}

function ownLease(lease: Lease): OwnLease {
  return {
    lease,
    lost: new Promise(() => {}),
    update: () => Promise.resolve(),
    networkReady: () => undefined,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function optionsOf(flags: readonly string[]): DaemonOptions {
  const command = parseCommandLine(flags, {});
  if (command.kind !== "daemon") throw new Error(`${flags} is no start of the daemon`);
  return command.options;
}

const devices = async () => (await sh("ip -o link show type vxlan | cut -d: -f2,3")).trim();

describe("an interface that has changed since its selection", () => {
  beforeEach(() => sh(`ip link set ${DEVICE} mtu 1500`));
  afterEach(() => sh("for d in flannel.1 flannel-v6.1; do ip link del $d 2>/dev/null || :; done"));

  test("determines the MTU of the devices", async () => {
    const { error, said } = await startAfter(`ip link set ${DEVICE} mtu 1400`);
    expect(error).toBeUndefined();
    expect(readFileSync(subnetFile, "utf8")).toContain("FLANNEL_MTU=1330\n");
    expect(await devices()).toMatch(/flannel.1: .* mtu 1350 [^]*flannel-v6.1: .* mtu 1330 /);
    expect(said).toContain(
      `interface ${DEVICE} changed from 192.168.0.1 and fd00::1, MTU 1500 to 192.168.0.1 and ` +
        "fd00::1, MTU 1400",
    );
  });

  test("ends the start with the reason if its MTU has become too small", async () => {
    const { error } = await startAfter(`ip link set ${DEVICE} mtu 1300`);
    expect(error).toBeInstanceOf(NetworkError);
    expect((error as Error).message).toBe(
      `interface ${DEVICE} has an MTU of 1300 bytes, which leaves 1230 for packets in the ` +
        "tunnel; IPv6 needs 1280 (RFC 8200): raise its MTU to at least 1350, or set EnableIPv6 " +
        "to false in the network configuration",
    );
    expect(existsSync(subnetFile)).toBe(false);
  });

  test("ends the start if it was deleted", async () => {
    const { error } = await startAfter(`ip link del ${DEVICE}`);
    await addDevice();
    expect(error).toBeInstanceOf(NetworkError);
    expect((error as Error).message).toBe(`interface ${DEVICE} is gone`);
    expect(existsSync(subnetFile)).toBe(false);
  });
});
