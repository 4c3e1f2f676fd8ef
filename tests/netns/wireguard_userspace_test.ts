/** WireGuard in user space (wireguard-go): the same entries as with the kernel's. */

import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { Prefix } from "../../src/addr/prefix.ts";
import { parseWireguardKey, type WireguardKey } from "../../src/addr/wireguard_key.ts";
import type { KernelEvent } from "../../src/kernel/kernel.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { wireguardSupport } from "../../src/kernel/wireguard/wireguard_support.ts";
import {
  type Link,
  NO_MAC,
  type Resource,
  type WireguardDevice,
  type WireguardPeer,
} from "../../src/state/resource.ts";
import { collect, find, remove, run, runJson, Sandbox, set, until } from "./netlink_support.ts";

setDefaultTimeout(300_000);

/** A name of its own: the sockets of all network namespaces are in one directory. */
const NAME = `fwgus${process.pid % 100_000}`;
const FAR = `fwguf${process.pid % 100_000}`;
const LINKS: ReadonlySet<string> = new Set([NAME]);
const SOCKET = `/var/run/wireguard/${NAME}.sock`;
/** WireGuard is read every 2 to 60 s, less often the longer a dump takes. */
const POLLED_MS = 100_000;

const LINK: Link = {
  kind: "link",
  type: "wireguard",
  implementation: "userspace",
  name: NAME,
  mtuBytes: 1390,
  mac: NO_MAC,
  up: true,
};
const DEVICE: WireguardDevice = {
  kind: "wireguard-device",
  link: NAME,
  privateKey: key("wg genkey"),
  listenPort: 51820,
};

let sandbox: Sandbox;
let kernel: NetlinkKernel;
beforeEach(() => {
  sandbox = new Sandbox();
  kernel = sandbox.kernel;
});
afterEach(async () => {
  // The processes end with their devices.
  for (const name of [NAME, FAR]) {
    Bun.spawnSync(["ip", "link", "del", name]);
    rmSync(`/var/run/wireguard/${name}.sock`, { force: true });
  }
  await until(() => processes().length === 0);
  sandbox[Symbol.dispose]();
});

test("wireguardSupport() names wireguard-go on a kernel without WireGuard", async () => {
  const before = linkNames();
  const isInKernel = Bun.spawnSync(["ip", "link", "add", NAME, "type", "wireguard"]).success;
  if (isInKernel) run(`ip link del ${NAME}`);
  expect(await wireguardSupport()).toEqual(isInKernel ? "kernel" : { userspace: "wireguard-go" });
  expect(linkNames()).toEqual(before);
});

test("a userspace device is created up with its MTU, and its process ends with it", async () => {
  using collected = collect(kernel);
  expect(await set(kernel, LINK)).toBeUndefined();
  expect(await find(kernel, LINK)).toEqual(LINK);
  expect((await kernel.link(NAME))?.link).toEqual(LINK);
  expect(processes().length).toBe(1);
  // The last notification describes the device as it is.
  expect(await until(() => Bun.deepEquals(lastLink(collected.events), LINK))).toBe(true);
  expect(await remove(kernel, LINK)).toBeUndefined();
  expect(await find(kernel, LINK)).toBeUndefined();
  expect(await until(() => processes().length === 0 && !existsSync(SOCKET))).toBe(true);
});

test("a device that is deleted and created in one batch has a process of its own", async () => {
  await make(peer(1));
  const [before] = processes();
  const results = await kernel.apply([
    { op: "delete", resource: LINK },
    ...[LINK, DEVICE, peer(1)].map((resource) => ({ op: "set" as const, resource })),
  ]);
  expect(results).toEqual([undefined, undefined, undefined, undefined]);
  expect(await until(() => processes().length === 1)).toBe(true);
  expect(processes()[0]).not.toBe(before);
  expect(await read()).toEqual([DEVICE, peer(1)]);
});

test("the key, the port and peers read back as they were set, and as `wg` shows them", async () => {
  const { endpoint: _, ...bare } = peer(4);
  const peers: WireguardPeer[] = [
    peer(1),
    peer(2, { endpoint: { address: "2001:db8::2" as IpAddress, port: 1 }, keepaliveSeconds: 25 }),
    peer(3, { presharedKey: key("wg genpsk"), allowedIps: prefixes("10.5.3.0/24", "fc00::/64") }),
    bare,
  ];
  await make(...peers);
  expect(byKey(await read())).toEqual(byKey([DEVICE, ...peers]));
  const shown = run(`wg show ${NAME} dump`);
  expect(shown).toStartWith(`${DEVICE.privateKey}\t`);
  expect(shown).toMatch(/\t\[2001:db8::2\]:1\t10\.5\.2\.0\/24\t0\t0\t\d+\t25\n/);
  expect(shown).toContain(`\t${peers[2]?.presharedKey}\t192.0.2.3:51820\t`);
});

test("peers are changed in place and removed", async () => {
  await make(peer(1), peer(2));
  const changed = peer(1, {
    endpoint: { address: "192.0.2.77" as IpAddress, port: 7 },
    presharedKey: key("wg genpsk"),
    keepaliveSeconds: 9,
    allowedIps: prefixes("10.7.0.0/16"),
  });
  for (const one of [changed, peer(1), peer(1, { allowedIps: [] })]) {
    expect(await set(kernel, one)).toBeUndefined();
    expect(byKey(await read())).toEqual(byKey([DEVICE, one, peer(2)]));
  }
  expect(await remove(kernel, peer(2))).toBeUndefined();
  expect(await remove(kernel, peer(2))).toBeUndefined();
  expect((await read()).length).toBe(2);
});

test("a port that is taken is named, and the key is not", async () => {
  await set(kernel, LINK);
  const socket = await Bun.udpSocket({ port: 51820, hostname: "0.0.0.0" });
  const error = await set(kernel, DEVICE);
  socket.close();
  expect(error?.message).toContain("EADDRINUSE");
  expect(error?.message).toContain("set ListenPort in the Backend object to a port");
  expect(error?.message).not.toContain(DEVICE.privateKey);
});

test("the device and its sessions outlive the kernel object that created them", async () => {
  await make(peer(1));
  const before = processes();
  kernel[Symbol.dispose]();
  kernel = new NetlinkKernel({ clock: systemClock });
  expect(processes()).toEqual(before);
  expect(await find(kernel, LINK)).toEqual(LINK);
  expect(await read()).toEqual([DEVICE, peer(1)]);
  kernel[Symbol.dispose]();
});

describe("drift", () => {
  test("a removed peer is notified", async () => {
    await make(peer(1), peer(2));
    using collected = collect(kernel);
    run(`wg set ${NAME} peer ${peer(1).publicKey} remove`);
    expect(await until(() => peerEvents(collected.events).length > 0, POLLED_MS)).toBe(true);
    expect(peerEvents(collected.events))
      .toEqual([{ kind: "changed", resource: peer(1), deleted: true }]);
  });

  test("the device of a killed process disappears, and a new process recreates it", async () => {
    await make(peer(1));
    using collected = collect(kernel);
    process.kill(processes()[0] as number, "SIGKILL");
    expect(await until(() => linkIsGone(collected.events))).toBe(true);
    expect(existsSync(SOCKET)).toBe(true); // without a listener
    expect(await find(kernel, LINK)).toBeUndefined();
    expect(await read()).toEqual([]);
    await make(peer(1));
    expect(await read()).toEqual([DEVICE, peer(1)]);
  });

  test("a TUN device without a WireGuard process is not a WireGuard device", async () => {
    run(`ip tuntap add dev ${NAME} mode tun`);
    expect((await find(kernel, LINK) as Link).type).not.toBe("wireguard");
    expect(await read()).toEqual([]);
  });
});

test("the error for a device that cannot be created quotes wireguard-go", async () => {
  run(`ip link add ${NAME} type bridge`);
  const error = await set(kernel, LINK);
  expect(error?.errno).toBe("EIO");
  expect(error?.message).toMatch(/wireguard-go: .*Failed to create TUN device/);
});

test("a connected peer that sends from another endpoint has roamed", async () => {
  const farKey = key("wg genkey");
  await make(peer(1, {
    publicKey: publicKeyOf(farKey),
    endpoint: { address: "127.0.0.1" as IpAddress, port: 4001 },
    keepaliveSeconds: 1,
  }));
  run(`wireguard-go ${FAR}`);
  const nearKey = publicKeyOf(DEVICE.privateKey);
  const setFar = ["wg", "set", FAR, "listen-port", "4001", "private-key", "/dev/stdin"];
  Bun.spawnSync([...setFar, "peer", nearKey], { stdin: Buffer.from(farKey) });
  run(`ip link set ${FAR} up`);
  const handshake = () => Number(run(`wg show ${NAME} latest-handshakes`).split("\t")[1]);
  expect(await until(() => handshake() > 0, POLLED_MS)).toBe(true);
  const [, found] = await read();
  expect((found as WireguardPeer).roamed).toBeUndefined();
  run(`wg set ${FAR} listen-port 4002`);
  // The next packet comes from there.
  run(`wg set ${FAR} peer ${nearKey} endpoint 127.0.0.1:51820 persistent-keepalive 1`);
  expect(await until(() => run(`wg show ${NAME} endpoints`).includes("127.0.0.1:4002"), POLLED_MS))
    .toBe(true);
  expect(((await read())[1] as WireguardPeer).roamed).toBe(true);
});

function linkNames(): unknown[] {
  return runJson("ip -j link").map(({ ifname }) => ifname);
}

/** Makes the device, with its key, and these peers. */
async function make(...peers: readonly WireguardPeer[]): Promise<void> {
  const steps = [LINK, DEVICE, ...peers].map((resource) => ({ op: "set" as const, resource }));
  expect((await kernel.apply(steps)).filter(Boolean)).toEqual([]);
}

async function read(): Promise<Resource[]> {
  return await kernel.dump(["wireguard-device", "wireguard-peer"], LINKS);
}

/** Ids of the processes of our devices. */
function processes(): number[] {
  const { stdout } = Bun.spawnSync(["pgrep", "-x", "-f", `wireguard-go (${NAME}|${FAR})`]);
  return stdout.toString().split("\n").filter(Boolean).map(Number);
}

function byKey(resources: readonly Resource[]): Resource[] {
  const keyOf = (one: Resource) => one.kind === "wireguard-peer" ? one.publicKey : "";
  return resources.toSorted((a, b) => keyOf(a) < keyOf(b) ? -1 : 1);
}

function peer(n: number, changes: Partial<WireguardPeer> = {}): WireguardPeer {
  return {
    kind: "wireguard-peer",
    link: NAME,
    publicKey: `${"ABCDE"[n]}${"A".repeat(42)}=` as WireguardKey,
    endpoint: { address: `192.0.2.${n}` as IpAddress, port: 51820 },
    keepaliveSeconds: 0,
    allowedIps: prefixes(`10.5.${n}.0/24`),
    ...changes,
  };
}

function prefixes(...texts: string[]): Prefix[] {
  return texts.sort() as Prefix[];
}

function key(command: string): WireguardKey {
  return parseWireguardKey(run(command).trim()) as WireguardKey;
}

function publicKeyOf(privateKey: WireguardKey): WireguardKey {
  const { stdout } = Bun.spawnSync(["wg", "pubkey"], { stdin: Buffer.from(privateKey) });
  return parseWireguardKey(stdout.toString().trim()) as WireguardKey;
}

function peerEvents(events: readonly KernelEvent[]): KernelEvent[] {
  return events.filter((event) =>
    event.kind === "changed" && event.resource.kind === "wireguard-peer"
  );
}

function linkEvents(events: readonly KernelEvent[]) {
  return events.flatMap((event) =>
    event.kind === "changed" && event.resource.kind === "link" && event.resource.name === NAME
      ? [{ link: event.resource, deleted: event.deleted }]
      : []
  );
}

function lastLink(events: readonly KernelEvent[]): Link | undefined {
  return linkEvents(events).at(-1)?.link;
}

function linkIsGone(events: readonly KernelEvent[]): boolean {
  return linkEvents(events).at(-1)?.deleted === true;
}
