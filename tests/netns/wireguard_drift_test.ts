/**
 * The reconciler and WireGuard's devices and peers: drift is repaired, a learned endpoint
 * is kept. With the kernel's implementation if it has one, otherwise with wireguard-go.
 */

import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { Prefix } from "../../src/addr/prefix.ts";
import { systemClock } from "../../src/base/clock.ts";
import { parseWireguardKey, type WireguardKey } from "../../src/addr/wireguard_key.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { wireguardSupport } from "../../src/kernel/wireguard/wireguard_support.ts";
import { Reconciler } from "../../src/reconcile/reconciler.ts";
import {
  type Link,
  NO_MAC,
  type WireguardDevice,
  type WireguardPeer,
} from "../../src/state/resource.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { route, run, Sandbox, until } from "./netlink_support.ts";

setDefaultTimeout(300_000);

const NAME = `fwgdr${process.pid % 100_000}`;
const FAR = `fwgdf${process.pid % 100_000}`;
/** WireGuard is read every 2 to 60 s, less often the longer a dump takes. */
const HEALED_MS = 100_000;
const implementation = await wireguardSupport() === "kernel" ? "kernel" : "userspace";

const LINK: Link = {
  kind: "link",
  type: "wireguard",
  implementation,
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
const FAR_KEY = key("wg genkey");
const NETWORK_ROUTE = route("10.5.0.0/16", { link: NAME, scope: "link" });

let sandbox: Sandbox;
let kernel: NetlinkKernel;
let reconciler: Reconciler;
let log: ReturnType<typeof collectingLog>;

beforeEach(async () => {
  sandbox = new Sandbox();
  log = collectingLog();
  await start();
});
afterEach(async () => {
  await stop();
  for (const name of [NAME, FAR]) Bun.spawnSync(["ip", "link", "del", name]);
  await until(() => processes() === "");
  sandbox[Symbol.dispose]();
});

/** The state after a daemon has ended. */
async function stop(): Promise<void> {
  await reconciler[Symbol.asyncDispose]();
  kernel[Symbol.dispose]();
}

/** A reconciler, as a daemon creates it at its start. */
async function start(): Promise<void> {
  kernel = new NetlinkKernel({ clock: systemClock });
  reconciler = new Reconciler({ kernel, log: log.log, clock: systemClock });
  reconciler.start({
    ownership: {
      links: new Set([NAME]),
      linkTypes: new Set(["wireguard"]),
      networks: ["10.5.0.0/16" as Prefix],
      routeLink: "under0",
      extraKinds: ["wireguard-device", "wireguard-peer"],
    },
    external: "under0",
  });
  reconciler.setDesired("node", [LINK, DEVICE, NETWORK_ROUTE]);
  reconciler.setDesired("far", [peer()]);
  reconciler.allowSweep();
  expect(await settled()).toBe(true);
}

test("every entry is created once, and then nothing changes", async () => {
  const shown = state();
  expect(shown).toContain(peer().publicKey);
  const identity = run(`ip -o link show ${NAME}`).split(":")[0];
  await Bun.sleep(5000);
  expect(reconciler.status()).toEqual({ failing: [], conflicts: [] });
  expect(run(`ip -o link show ${NAME}`).split(":")[0]).toBe(identity as string);
  expect(state()).toBe(shown);
  expect(log.records.filter(({ level }) => level !== "debug" && level !== "trace")).toEqual([]);
  expect(repairs()).toEqual([]);
});

test.each([
  ["a removed peer", () => `wg set ${NAME} peer ${peer().publicKey} remove`],
  ["a foreign peer", () => `wg set ${NAME} peer ${DEVICE.privateKey} allowed-ips 10.5.77.0/24`],
  ["other allowed IPs", () => `wg set ${NAME} peer ${peer().publicKey} allowed-ips 10.5.77.0/24`],
  ["another port", () => `wg set ${NAME} listen-port 7`],
  ["another endpoint", () => `wg set ${NAME} peer ${peer().publicKey} endpoint 192.0.2.99:7`],
  ["another MTU", () => `ip link set ${NAME} mtu 1400`],
  ["a device that is down", () => `ip link set ${NAME} down`],
  ["a deleted device", () => `ip link del ${NAME}`],
  ["a deleted route", () => `ip route del 10.5.0.0/16 dev ${NAME}`],
])("%s is repaired", async (_, change) => {
  const before = state();
  run(change());
  expect(state()).not.toBe(before);
  expect(await until(() => state() === before, HEALED_MS)).toBe(true);
  expect(await settled()).toBe(true);
  expect(await until(() => repairs().length > 0)).toBe(true);
});

test("a restart only repairs what has changed, and the session survives", async () => {
  await connect();
  const [shown, handshake] = [state(), lastHandshake()];
  await stop();
  await start();
  expect(state()).toBe(shown);
  expect(lastHandshake()).toBe(handshake);
  await stop();
  run(`wg set ${NAME} peer ${DEVICE.privateKey} allowed-ips 10.5.77.0/24`);
  await start();
  expect(await until(() => state() === shown)).toBe(true);
  expect(lastHandshake()).toBe(handshake);
});

test("a learned endpoint stays until another one is desired", async () => {
  await connect();
  run(`wg set ${FAR} listen-port 4002`);
  expect(await until(() => endpoint() === "127.0.0.1:4002", HEALED_MS)).toBe(true);
  await Bun.sleep(5000);
  expect(endpoint()).toBe("127.0.0.1:4002");
  expect(reconciler.status()).toEqual({ failing: [], conflicts: [] });
  expect(repairs()).toEqual([]);
  // It stays when another setting of the peer changes.
  reconciler.setDesired("far", [{ ...peer(), keepaliveSeconds: 30 }]);
  expect(await until(() => run(`wg show ${NAME} dump`).includes("\t30\n"))).toBe(true);
  expect(endpoint()).toBe("127.0.0.1:4002");
  run(
    `wg set ${FAR} listen-port 4003 peer ${publicKeyOf(DEVICE.privateKey)} persistent-keepalive 0`,
  );
  reconciler.setDesired("far", [peer("127.0.0.2")]);
  expect(await until(() => endpoint() === "127.0.0.2:4001")).toBe(true);
});

test("after a restart a connected peer keeps its endpoint until a new one is desired", async () => {
  await connect();
  run(`wg set ${FAR} listen-port 4002`);
  expect(await until(() => endpoint() === "127.0.0.1:4002", HEALED_MS)).toBe(true);
  await stop();
  await start();
  expect(endpoint()).toBe("127.0.0.1:4002");
  run(`wg set ${FAR} peer ${publicKeyOf(DEVICE.privateKey)} persistent-keepalive 0`);
  reconciler.setDesired("far", [peer("127.0.0.2")]);
  expect(await until(() => endpoint() === "127.0.0.2:4001")).toBe(true);
});

/** Creates the other end, which sends every second, and waits for the session. */
async function connect(): Promise<void> {
  run(implementation === "kernel" ? `ip link add ${FAR} type wireguard` : `wireguard-go ${FAR}`);
  const options = ["listen-port", "4001", "private-key", "/dev/stdin"];
  const near = ["peer", publicKeyOf(DEVICE.privateKey), "endpoint", "127.0.0.1:51820"];
  Bun.spawnSync(["wg", "set", FAR, ...options, ...near, "persistent-keepalive", "1"], {
    stdin: Buffer.from(FAR_KEY),
  });
  run(`ip link set ${FAR} up`);
  expect(await until(() => lastHandshake() > 0, HEALED_MS)).toBe(true);
}

/** Whether all is done, and device, peer and route come to be there, with nothing wrong. */
async function settled(): Promise<boolean> {
  await reconciler.whenSettled();
  return await until(() => {
    const { failing, conflicts } = reconciler.status();
    const shown = state();
    return failing.length === 0 && conflicts.length === 0 && shown.includes(peer().publicKey) &&
      shown.includes("10.5.0.0/16 ");
  }, HEALED_MS);
}

/** The repairs of entries that another program changed. */
function repairs(): string[] {
  return log.records.map(({ msg }) => msg).filter((msg) => msg.startsWith("repaired: "));
}

/** The state of the kernel and WireGuard, without what changes with each packet. */
function state(): string {
  const link = Bun.spawnSync(["ip", "-o", "link", "show", NAME]).stdout.toString();
  const [, mtu] = /mtu (\d+)/.exec(link) ?? [];
  const wg = ["private-key", "listen-port", "endpoints", "allowed-ips", "persistent-keepalive"]
    .map((what) => Bun.spawnSync(["wg", "show", NAME, what]).stdout.toString());
  const routes = Bun.spawnSync(["ip", "route", "show", "dev", NAME]).stdout.toString();
  return [`mtu ${mtu} ${/[<,]UP[,>]/.test(link) ? "up" : "down"}\n`, ...wg, routes].join("");
}

function endpoint(): string | undefined {
  return run(`wg show ${NAME} endpoints`).trim().split("\t")[1];
}

function lastHandshake(): number {
  return Number(run(`wg show ${NAME} latest-handshakes`).trim().split("\t")[1]);
}

function peer(address = "127.0.0.1"): WireguardPeer {
  return {
    kind: "wireguard-peer",
    link: NAME,
    publicKey: publicKeyOf(FAR_KEY),
    endpoint: { address: address as IpAddress, port: 4001 },
    keepaliveSeconds: 0,
    allowedIps: ["10.5.2.0/24" as Prefix],
  };
}

function processes(): string {
  return Bun.spawnSync(["pgrep", "-x", "-f", `wireguard-go (${NAME}|${FAR})`]).stdout.toString();
}

function key(command: string): WireguardKey {
  return parseWireguardKey(run(command).trim()) as WireguardKey;
}

function publicKeyOf(privateKey: WireguardKey): WireguardKey {
  const { stdout } = Bun.spawnSync(["wg", "pubkey"], { stdin: Buffer.from(privateKey) });
  return parseWireguardKey(stdout.toString().trim()) as WireguardKey;
}
