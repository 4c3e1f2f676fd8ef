/** A network namespace, entries for it, and `ip` to inspect it. */

import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { MacAddress } from "../../src/addr/mac.ts";
import type { Prefix } from "../../src/addr/prefix.ts";
import type { Kernel, KernelEvent, StepResult } from "../../src/kernel/kernel.ts";
import { NetlinkKernel, type NetlinkKernelOptions } from "../../src/kernel/netlink_kernel.ts";
import { resourceKey } from "../../src/state/resource_key.ts";
import type {
  Address,
  FdbEntry,
  Neighbour,
  Resource,
  Route,
  VxlanLink,
} from "../../src/state/resource.ts";
import { enterNewNetworkNamespace } from "../support/network_namespace.ts";

/** A namespace with `lo` and `under0` up, where `under0` has 192.0.2.1/24 and 2001:db8::1/64. */
export class Sandbox implements Disposable {
  readonly #namespace: Disposable;
  readonly kernel: NetlinkKernel;

  constructor(options: Partial<NetlinkKernelOptions> = {}) {
    this.#namespace = enterNewNetworkNamespace();
    run("ip link set lo up");
    run("ip link add under0 type veth peer name under1");
    run("ip link set under0 up");
    run("ip link set under1 up");
    run("ip addr add 192.0.2.1/24 dev under0");
    run("ip addr add 2001:db8::1/64 dev under0 nodad");
    this.kernel = new NetlinkKernel({ clock: systemClock, ...options });
  }

  [Symbol.dispose](): void {
    this.kernel[Symbol.dispose]();
    this.#namespace[Symbol.dispose]();
  }
}

/** Runs a command, whose words contain no spaces, and returns its output. */
export function run(command: string): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command.split(" "));
  if (exitCode !== 0) throw new Error(`${command}: ${stderr.toString()}`);
  return stdout.toString();
}

/** The parsed output of `ip -j …`. */
export function runJson(command: string): Record<string, unknown>[] {
  const text = run(command);
  return text.trim() === "" ? [] : JSON.parse(text);
}

export async function set(
  kernel: Kernel,
  resource: Resource,
  exclusive = false,
): Promise<StepResult> {
  return (await kernel.apply([{ op: "set", resource, exclusive }]))[0];
}

export async function remove(kernel: Kernel, resource: Resource): Promise<StepResult> {
  return (await kernel.apply([{ op: "delete", resource }]))[0];
}

/** The entry with the key of `resource` in the kernel. */
export async function find(kernel: Kernel, resource: Resource): Promise<Resource | undefined> {
  const key = resourceKey(resource);
  return (await kernel.dump([resource.kind])).find((found) => resourceKey(found) === key);
}

/** Collects events until disposed. */
export function collect(kernel: Kernel): Disposable & { readonly events: KernelEvent[] } {
  const events: KernelEvent[] = [];
  const watch = kernel.watch((event) => events.push(event));
  return { events, [Symbol.dispose]: () => watch[Symbol.dispose]() };
}

/** Waits until `condition` is true, for at most `timeoutMs`; returns whether it was. */
export async function until(condition: () => boolean, timeoutMs = 30_000): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(5);
  }
  return true;
}

export function vxlan(changes: Partial<VxlanLink> = {}): VxlanLink {
  return {
    kind: "link",
    type: "vxlan",
    name: "flannel.1",
    mtuBytes: 1450,
    mac: "c6:d2:32:6f:8f:44" as MacAddress,
    up: true,
    vni: 1,
    local: "192.0.2.1" as IpAddress,
    underlay: "under0",
    port: 8472,
    learning: false,
    gbp: false,
    ...changes,
  };
}

export function address(text: string, prefixLength: number, link = "flannel.1"): Address {
  return { kind: "address", link, address: text as IpAddress, prefixLength };
}

export function neighbour(text: string, mac = "02:00:00:00:00:02"): Neighbour {
  const address = text as IpAddress;
  return { kind: "neighbour", link: "flannel.1", address, mac: mac as MacAddress };
}

export function fdb(remote: string, mac = "02:00:00:00:00:02"): FdbEntry {
  return { kind: "fdb", link: "flannel.1", mac: mac as MacAddress, remote: remote as IpAddress };
}

type RouteChanges = Partial<Omit<Route, "kind" | "destination" | "gateway" | "source">> & {
  readonly gateway?: string;
  readonly source?: string;
};

/** One of our unicast routes on `flannel.1`, with the default metric of its family. */
export function route(destination: string, changes: RouteChanges = {}): Route {
  return {
    kind: "route",
    type: "unicast",
    destination: destination as Prefix,
    link: "flannel.1",
    onlink: false,
    scope: "universe",
    metric: destination.includes(":") ? 1024 : 0,
    protocol: 70,
    table: 254,
    ...changes,
  } as Route;
}

export function blackhole(destination: string): Route {
  const { link: _link, ...rest } = route(destination);
  return { ...rest, type: "blackhole" };
}
